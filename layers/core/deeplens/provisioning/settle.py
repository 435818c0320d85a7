"""every minute → tenants whose creation or deletion has not ended"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from itertools import batched
from typing import TYPE_CHECKING, Any, ClassVar

from deeplens.common.event import Event
from deeplens.common.ports import Clock, SecretStore
from deeplens.common.resolve import Lazy
from deeplens.errors import DeepLensError, TenantStoreDenied
from deeplens.identity.federation.model import secret_name as provider_secret_name
from deeplens.provisioning.servers import secret_name as server_secret_name
from deeplens.rollouts.model import Rollouts
from deeplens.storage.ports import StoreResolver
from deeplens.stores.model import RegisteredStores, secret_name
from deeplens.telemetry.logs import logger
from deeplens.tenants.model import Tenant, TenantRecord
from deeplens.tenants.ports import TenantRecords
from deeplens.vectors.ports import VectorIndex

if TYPE_CHECKING:
    from deeplens.provisioning.provision import Provisioning

GRACE = timedelta(seconds=30)
"""A running creation is not disturbed for this time; a deletion waits until no cache has the tenant as active."""
BUDGET_SECONDS = 40.0
TENANTS_AT_ONCE = 100
OBJECTS_AT_ONCE = 1000


class OutOfTime(DeepLensError):
    """The next run continues."""


@dataclass(frozen=True, slots=True)
class SettleTenants:
    """Finish creations that stopped half-way, and carry out deletions. Emits nothing.

    Each step is safe to repeat and recorded when it is complete.
    """

    name: ClassVar = "tenants"

    tenant_records: TenantRecords
    provisioning: "Lazy[Provisioning]"
    stores: StoreResolver
    index: Lazy[VectorIndex]
    rollouts: Rollouts
    registered_stores: RegisteredStores
    secret_store: SecretStore
    clock: Clock
    monotonic: Callable[[], float] = time.monotonic

    def __call__(self) -> list[Event]:
        """Settle the tenants that wait, within the budget of time. Raises ``DeepLensError`` when some failed."""
        deadline, failed = self.monotonic() + BUDGET_SECONDS, []
        for tenant_id in self.tenant_records.unsettled(self.clock.now() - GRACE, TENANTS_AT_ONCE):
            try:
                self.settle(tenant_id, deadline)
            except OutOfTime:
                break
            except Exception:
                logger().exception("tenant not settled", tenant_id=tenant_id)
                failed.append(tenant_id)
        if failed:
            raise DeepLensError(f"not settled: {', '.join(failed)}")
        return []

    def settle(self, tenant_id: str, deadline: float = float("inf")) -> None:
        """Continue one creation or deletion. Raises ``OutOfTime``, and the errors of the ports."""
        record = self.tenant_records.find(tenant_id)
        if record is not None and record.status == "provisioning":
            self.provisioning().resume(tenant_id)
        if record is not None and record.status == "deleting":
            self._delete(record, deadline)

    def _delete(self, record: TenantRecord, deadline: float) -> None:
        tenant = self.provisioning().tenant(record.id)
        steps: dict[str, Callable[[], Any]] = {
            "vectors": lambda: self._drop_vectors(tenant),
            "objects": lambda: self._delete_objects(tenant, record, deadline),
            "storeCredentials": lambda: self._delete_credentials(tenant),
            "database": lambda: self.provisioning().drop_database(tenant.id),
            # After the database, which can be dropped only with them.
            "serverCredentials": lambda: self.secret_store.delete(server_secret_name(tenant.id)),
            "providerCredentials": lambda: self.secret_store.delete(provider_secret_name(tenant.id)),
            "records": lambda: self.tenant_records.delete_rows(tenant.id),
        }
        for name, step in steps.items():
            if name not in record.progress:
                self.tenant_records.record_step(record.id, name, step() or {})
        self.tenant_records.finish_deletion(record.id, self.clock.now())

    def _delete_credentials(self, tenant: Tenant) -> dict[str, Any]:
        """Delete the credentials of customer-owned storage; the storage itself is not changed."""
        stores = self.registered_stores.of_tenant(tenant.id)
        for store in stores:
            for version in range(1, store.credentials_version + 1):
                self.secret_store.delete(secret_name(store, version))
        return {"stores": len(stores)}

    def _drop_vectors(self, tenant: Tenant) -> dict[str, Any]:
        rollouts = self.rollouts.of_tenant(tenant.id)
        models = {*tenant.models, *(model for rollout in rollouts for model in (rollout.source, rollout.target))}
        for model in models:
            self.index().drop_collection(tenant.using(model))
        return {"collections": len(models)}

    def _delete_objects(self, tenant: Tenant, record: TenantRecord, deadline: float) -> dict[str, Any]:
        """Delete objects in groups and record the progress.

        Raises ``StoreNotOwned``, before anything is deleted, for a bucket that may be another installation's.
        """
        store = self.stores.for_tenant(tenant)
        count = int(record.progress.get("objectsSoFar", 0))
        try:
            store.require_ours()
            for group in batched(store.list(), OBJECTS_AT_ONCE, strict=False):
                store.delete(entry.key for entry in group)
                count += len(group)
                self.tenant_records.record_step(record.id, "objectsSoFar", count)
                if self.monotonic() > deadline:
                    raise OutOfTime("objects are left")
            store.remove()
        except TenantStoreDenied:
            logger().warning("store of a deleted tenant is gone already", tenant_id=tenant.id)
        return {"objects": count}
