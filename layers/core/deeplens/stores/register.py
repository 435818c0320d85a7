"""Registering, probing and rotating stores of tenants."""

import hashlib
import json
from dataclasses import dataclass, replace
from secrets import token_urlsafe

from deeplens.common.ids import new_id
from deeplens.common.ports import Clock, SecretStore
from deeplens.egress.rules import EgressRules, check_endpoint
from deeplens.errors import ApiError, EndpointRefused, TenantStoreDenied
from deeplens.images.ports import ImageRepository
from deeplens.stores.advice import Check, described, is_ready
from deeplens.stores.model import Credentials, RegisteredStores, StoreObjects, StorePlatform, TenantStore, secret_name
from deeplens.stores.resolver import OpenStores
from deeplens.stores.schemas import CredentialsRequest, StoreRequest
from deeplens.tenants.limits import Storage
from deeplens.tenants.model import Tenant

MAX_STORES = 20
MANAGED_PREFIX = "deeplens/"


@dataclass(frozen=True, slots=True)
class RegisterStores:
    """Registers stores after a probe: a refused one leaves nothing, an incomplete one can be completed."""

    registered_stores: RegisteredStores
    store_objects: StoreObjects
    open_stores: OpenStores
    secret_store: SecretStore
    images: ImageRepository
    platform: StorePlatform
    egress: EgressRules
    clock: Clock

    def register(self, tenant: Tenant, request: StoreRequest) -> tuple[TenantStore, str]:
        """Register a store; return it and the secret of its notifications.

        Raises
        ------
        ApiError
            422 for a location that is not allowed, 409 when another store covers it or the tenant has images already.
        """
        now = self.clock.now()
        secret = token_urlsafe(32)
        prefix = request.prefix or (MANAGED_PREFIX if request.mode == "managed" else "")
        store = TenantStore(
            **request.model_dump(exclude={"credentials", "endpoint", "prefix"}),
            id=new_id("sto", now),
            tenant_id=tenant.id,
            created_at=now,
            endpoint=request.endpoint.rstrip("/") if request.endpoint else None,
            prefix=prefix.rstrip("/") + "/" if prefix else "",
            credentials_version=1 if request.credentials else 0,
            former_uri=tenant.storage_uri if request.mode == "managed" else None,
            event_secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
        )
        self._check_allowed(tenant, store)
        credentials = Credentials(request.credentials.values() if request.credentials else {})
        return self._accept(tenant, self._probed(store, credentials), credentials), secret

    def probe(self, tenant: Tenant, store: TenantStore) -> TenantStore:
        """Probe a store again; return it with the findings."""
        try:
            credentials = self.open_stores.credentials(store)
        except TenantStoreDenied:
            checked = self._with_checks(store, [Check("list", "credentials")])
        else:
            checked = self._probed(store, credentials)
        return self._accept(tenant, checked)

    def rotate(self, tenant: Tenant, store: TenantStore, request: CredentialsRequest) -> TenantStore:
        """Replace the credentials by others that work as well.

        Raises
        ------
        ApiError
            422 for credentials of another kind, 409 when they do not work, or for what ``register`` would refuse.
        """
        if not store.credentials_version or not request.fits(store.kind):
            detail = "Give the credentials that a store of this kind has; a role's trust is changed in its own account."
            raise ApiError(422, "credentials-refused", "Credentials refused", detail)
        credentials = Credentials(request.values())
        checked = self._probed(replace(store, credentials_version=store.credentials_version + 1), credentials)
        if checked.state != "ready" and store.state == "ready":
            failed = [check for check in checked.checks if check.get("missing")]
            wrong = ", ".join(f"{check['check']}: {check['outcome']}" for check in failed)
            detail = f"The old credentials stay, as these do not work ({wrong})."
            raise ApiError(409, "credentials-refused", "Credentials refused", detail)
        self._accept(tenant, checked, credentials)
        # Functions use the old row for ten seconds more, with the client that they have opened.
        self.secret_store.delete(secret_name(store, store.credentials_version))
        return checked

    def remove(self, tenant: Tenant, store: TenantStore) -> None:
        """Remove a registration. Its images stay, without their originals. Raises 409 for a managed one with images."""
        if store.mode == "managed" and tenant.storage_uri == store.root:
            self._require_empty(tenant)
            self.registered_stores.set_storage_uri(tenant.id, store.former_uri or "")
        self.registered_stores.remove(tenant.id, store.id)
        self.store_objects.forget(tenant, store.id)
        for version in range(1, store.credentials_version + 1):
            self.secret_store.delete(secret_name(store, version))

    def _accept(self, tenant: Tenant, store: TenantStore, credentials: Credentials | None = None) -> TenantStore:
        """Save a probed store and its new credentials; DeepLens writes to a managed one as soon as it is ready.

        Whatever refuses the store does so before anything is saved.
        """
        self._check_overlap(store)
        placed = store.mode == "managed" and store.state == "ready" and tenant.storage_uri != store.root
        if placed:
            self._require_empty(tenant)
        if credentials and credentials.values:
            self.secret_store.put(store.secret_name, json.dumps(dict(credentials.values)))
        self.registered_stores.save(store)
        if placed:
            self.registered_stores.set_storage_uri(tenant.id, store.root)
        return store

    def _probed(self, store: TenantStore, credentials: Credentials) -> TenantStore:
        from deeplens.stores.probe import probe

        return self._with_checks(store, probe(self.open_stores, store, credentials, self.platform.queue_arn))

    def _with_checks(self, store: TenantStore, checks: list[Check]) -> TenantStore:
        ready = is_ready(store, checks)
        return replace(store, state="ready" if ready else "incomplete", checks=described(store, checks, self.platform))

    def _check_allowed(self, tenant: Tenant, store: TenantStore) -> None:
        """Refuse stores that no credentials could make acceptable."""
        if len(self.registered_stores.of_tenant(tenant.id)) >= MAX_STORES:
            raise ApiError(409, "too-many-stores", "Too many stores", f"A tenant has at most {MAX_STORES}; remove one.")
        if store.endpoint:
            try:
                check_endpoint(store.endpoint, self.egress)
            except EndpointRefused as error:
                raise ApiError(422, "endpoint-refused", "Endpoint refused", f"{error}.") from None
        if store.role_arn and store.role_arn.split(":")[4] == self.platform.account:
            raise _refused("The role is one of DeepLens' own account; give one of yours.")
        own = store.kind in ("s3", "minio") and self.platform.owns(store.endpoint)
        if own and self.platform.reserves(store.container):
            raise _refused(f"{store.container} is named like DeepLens' own buckets; choose a bucket of yours.")
        if store.mode == "managed":
            self._require_empty(tenant)

    def _require_empty(self, tenant: Tenant) -> None:
        if self.images.totals(tenant) != Storage():
            detail = "A tenant's storage can only be changed while it has no images."
            raise ApiError(409, "tenant-has-images", "Tenant has images", detail)

    def _check_overlap(self, store: TenantStore) -> None:
        """Refuse a location that another registration covers, if DeepLens writes for one of the two.

        Checked after the probe: only a caller with access learns that another registration exists.
        """
        if store.state != "ready":
            return
        for other in self.registered_stores.of_container(store.container):
            same = other.kind == store.kind and other.endpoint == store.endpoint and other.id != store.id
            here = same and (store.kind != "nfs" or other.tenant_id == store.tenant_id)
            meets = other.prefix.startswith(store.prefix) or store.prefix.startswith(other.prefix)
            if here and meets and "managed" in (store.mode, other.mode):
                detail = "Another registration covers this prefix, and one of them is managed; choose another prefix."
                raise ApiError(409, "store-taken", "Store taken", detail)


def _refused(detail: str) -> ApiError:
    return ApiError(422, "store-refused", "Store refused", detail)
