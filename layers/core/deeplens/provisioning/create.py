"""Creating a tenant."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NewType

from deeplens.common.ports import SecretStore
from deeplens.common.resolve import Lazy
from deeplens.embedding.model import BUILT_IN_MODEL, ModelRef
from deeplens.embedding.ports import Embedder
from deeplens.errors import ApiError, EndpointRefused
from deeplens.provisioning.schemas import ModelChoice, TenantRequest
from deeplens.provisioning.servers import keep_credentials
from deeplens.rollouts.model import Rollouts
from deeplens.tenants.limits import ResourceLimits
from deeplens.tenants.model import Placement
from deeplens.tenants.ports import TenantRecords
from deeplens.vectors.keys import IndexKeys

if TYPE_CHECKING:
    from deeplens.provisioning.provision import Provisioning

DefaultStorage = NewType("DefaultStorage", str)
"""The scheme of the store of tenants that do not choose one."""


@dataclass(frozen=True, slots=True)
class CreateTenant:
    """Create a tenant, or finish a creation that stopped. Raises ``ApiError`` 409 for a tenant that exists."""

    tenant_records: TenantRecords
    provisioning: "Lazy[Provisioning]"  # slow to import
    embedder: Embedder
    rollouts: Rollouts
    index_keys: IndexKeys
    secret_store: SecretStore
    default_storage: DefaultStorage

    def __call__(self, request: TenantRequest) -> None:
        existing = self.tenant_records.find(request.tenant_id)
        if existing is not None and existing.status != "provisioning":
            raise ApiError(409, "tenant-exists", "Tenant exists", f"{request.tenant_id} is {existing.status}.")
        chosen = request.placement
        if chosen.qdrant_url:
            self._check_index(chosen.qdrant_url)
        model = self._register(request.model) if request.model else BUILT_IN_MODEL
        placement = Placement(chosen.storage or self.default_storage, self._server(request), chosen.qdrant_url)
        self.provisioning().provision(request.tenant_id, request.name, model=model, placement=placement)
        self.tenant_records.set_limits(request.tenant_id, ResourceLimits(**dict(request.limits)))
        if request.settings:
            self.tenant_records.change(request.tenant_id, None, request.settings)

    def _check_index(self, url: str) -> None:
        try:
            self.index_keys.key_of(url)
        except EndpointRefused as error:
            raise ApiError(422, "endpoint-refused", "Endpoint refused", f"{error}.") from None

    def _server(self, request: TenantRequest) -> str | None:
        """Keep the credentials of the tenant's own server, so that its row needs none; returns the address."""
        url = request.placement.database_server
        try:
            return keep_credentials(self.secret_store, request.tenant_id, url.get_secret_value()) if url else None
        except ValueError as error:
            raise ApiError(422, "invalid-request", "Invalid request", f"placement.databaseServer: {error}.") from None

    def _register(self, model: ModelChoice) -> ModelRef:
        profile = self.embedder.describe(model.name, model.version)
        self.rollouts.register(profile)
        return profile.ref
