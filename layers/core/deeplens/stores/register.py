"""Registering, probing and rotating stores of tenants' own."""

import hashlib
import json
from dataclasses import asdict, replace
from secrets import token_urlsafe
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from deeplens.common.ids import new_id
from deeplens.egress.rules import check_endpoint
from deeplens.errors import ApiError, EndpointRefused, TenantStoreDenied
from deeplens.settings import Settings
from deeplens.stores.advice import Check, Platform, advise, is_ready
from deeplens.stores.model import Credentials, TenantStore, secret_name
from deeplens.stores.schemas import CredentialsRequest, StoreRequest
from deeplens.tenants.limits import Storage
from deeplens.tenants.model import Tenant

if TYPE_CHECKING:
    from deeplens.http.dependencies import AdminParts

MOST = 20
MANAGED_PREFIX = "deeplens/"
RESERVED = "tenant-"
"""What the names of DeepLens' own buckets begin with."""


class RegisterStores:
    """Registration by way of a probe: what is refused leaves nothing, what is incomplete can be completed."""

    def __init__(self, parts: "AdminParts") -> None:
        self._parts, self._stores = parts, parts.registered_stores

    def register(self, tenant: Tenant, wanted: StoreRequest) -> tuple[TenantStore, str]:
        """The new store and the secret of its notifications.

        Raises
        ------
        ApiError
            422 where it may not point, 409 when another one stands there or the tenant has images already.
        """
        now = self._parts.clock.now()
        secret = token_urlsafe(32)
        prefix = wanted.prefix or (MANAGED_PREFIX if wanted.mode == "managed" else "")
        store = TenantStore(
            id=new_id("sto", now),
            tenant_id=tenant.id,
            kind=wanted.kind,
            mode=wanted.mode,
            container=wanted.container,
            created_at=now,
            endpoint=wanted.endpoint.rstrip("/") if wanted.endpoint else None,
            region=wanted.region,
            prefix=prefix.rstrip("/") + "/" if prefix else "",
            role_arn=wanted.role_arn,
            bucket_owner=wanted.bucket_owner,
            credentials_version=1 if wanted.credentials else 0,
            removal=wanted.removal,
            former_uri=tenant.storage_uri if wanted.mode == "managed" else None,
            event_secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
        )
        self._refuse(tenant, store)
        credentials = Credentials(wanted.credentials.values() if wanted.credentials else {})
        checked = self._probed(store, credentials)
        self._refuse_overlap(checked)
        if credentials.values:
            self._parts.secret_store.put(store.secret_name, json.dumps(dict(credentials.values)))
        self._stores.save(checked)
        self._settle(tenant, checked)
        return checked, secret

    def probe(self, tenant: Tenant, store: TenantStore) -> TenantStore:
        """The store as it is found now."""
        try:
            credentials = self._parts.open_stores.credentials(store)
        except TenantStoreDenied:
            credentials = Credentials({})
            checked = replace(
                store, state="incomplete", checks=_told([Check("list", "credentials")], store, self.platform(store))
            )
        else:
            checked = self._probed(store, credentials)
        self._refuse_overlap(checked)
        self._stores.save(checked)
        self._settle(tenant, checked)
        return checked

    def rotate(self, tenant: Tenant, store: TenantStore, given: CredentialsRequest) -> TenantStore:
        """Replace the credentials by others that work as well. Raises 409 when they do not, 422 of another kind."""
        if not store.credentials_version or not given.fits(store.kind):
            detail = "Give the credentials that a store of this kind has; a role's trust is changed in its own account."
            raise ApiError(422, "credentials-refused", "Credentials refused", detail)
        credentials = Credentials(given.values())
        checked = self._probed(replace(store, credentials_version=store.credentials_version + 1), credentials)
        if checked.state != "ready" and store.state == "ready":
            wrong = ", ".join(f"{one['check']}: {one['outcome']}" for one in checked.checks if one.get("missing"))
            detail = f"The old credentials stay, as these do not work ({wrong})."
            raise ApiError(409, "credentials-refused", "Credentials refused", detail)
        self._parts.secret_store.put(checked.secret_name, json.dumps(dict(credentials.values)))
        self._stores.save(checked)
        # Functions remember the row for ten seconds, but what the old version opened for as long as they live.
        self._parts.secret_store.delete(secret_name(store, store.credentials_version))
        self._settle(tenant, checked)
        return checked

    def remove(self, tenant: Tenant, store: TenantStore) -> None:
        """Forget a store. Its images stay, without their originals. Raises 409 for a managed one with images in it."""
        if store.mode == "managed" and tenant.storage_uri == store.root:
            self._require_empty(tenant)
            self._stores.release(store)
        self._stores.remove(tenant.id, store.id)
        self._parts.store_objects.forget(tenant, store.id)
        for version in range(1, store.credentials_version + 1):
            self._parts.secret_store.delete(secret_name(store, version))

    def platform(self, store: TenantStore) -> Platform:
        own = self._parts.settings
        return Platform(_account(own), own.object_queue_arn, event_url(own, store))

    def _probed(self, store: TenantStore, credentials: Credentials) -> TenantStore:
        from deeplens.stores.probe import Probe

        checks = Probe(self._parts.open_stores, self._parts.settings.object_queue_arn)(store, credentials)
        ready = is_ready(store, checks)
        return replace(
            store, state="ready" if ready else "incomplete", checks=_told(checks, store, self.platform(store))
        )

    def _refuse(self, tenant: Tenant, store: TenantStore) -> None:
        """What no credentials make good."""
        own = self._parts.settings
        if len(self._stores.of_tenant(tenant.id)) >= MOST:
            raise ApiError(409, "too-many-stores", "Too many stores", f"A tenant has at most {MOST}; remove one.")
        if store.endpoint:
            try:
                check_endpoint(store.endpoint, self._parts.egress)
            except EndpointRefused as error:
                raise ApiError(422, "endpoint-refused", "Endpoint refused", f"{error}.") from None
        if store.role_arn and store.role_arn.split(":")[4] == _account(own):
            raise _refused("The role is one of DeepLens' own account; give one of yours.")
        if store.container.startswith(RESERVED) and _is_ours(store.endpoint, own) and store.kind in ("s3", "minio"):
            raise _refused(f"Buckets whose names begin with {RESERVED} are DeepLens' own.")
        if store.mode == "managed":
            self._require_empty(tenant)

    def _require_empty(self, tenant: Tenant) -> None:
        if self._parts.images.totals(tenant) != Storage():
            detail = "Where a tenant's objects stand can only be changed while it has no images."
            raise ApiError(409, "tenant-has-images", "Tenant has images", detail)

    def _refuse_overlap(self, store: TenantStore) -> None:
        """Two registrations may look at one place, but where DeepLens writes, it writes for one alone.

        Only who was found to have access is told that somebody else has.
        """
        if store.state != "ready":
            return
        for other in self._stores.of_container(store.container):
            same = other.kind == store.kind and other.endpoint == store.endpoint and other.id != store.id
            here = same and (store.kind != "nfs" or other.tenant_id == store.tenant_id)
            meets = other.prefix.startswith(store.prefix) or store.prefix.startswith(other.prefix)
            if here and meets and "managed" in (store.mode, other.mode):
                detail = (
                    "Another registration covers this prefix, and one of the two is managed; choose another prefix."
                )
                raise ApiError(409, "store-taken", "Store taken", detail)

    def _settle(self, tenant: Tenant, store: TenantStore) -> None:
        if store.mode == "managed" and store.state == "ready" and tenant.storage_uri != store.root:
            self._require_empty(tenant)
            self._stores.adopt(store)


def event_url(own: Settings, store: TenantStore) -> str:
    return f"{(own.public_url or own.identity_url).rstrip('/')}/v1/notifications/{store.tenant_id}/{store.id}"


def _told(checks: list[Check], store: TenantStore, platform: Platform) -> tuple[dict[str, str | None], ...]:
    told = []
    for check in checks:
        advice = advise(store, check, platform)
        told.append({"check": check.name, "outcome": check.outcome} | (asdict(advice) if advice else {}))
    return tuple(told)


def _account(own: Settings) -> str:
    """The account that DeepLens runs in."""
    parts = own.tenant_storage_role_arn.split(":")
    return parts[4] if len(parts) > 4 else ""


def _is_ours(endpoint: str | None, own: Settings) -> bool:
    """Whether an endpoint is where DeepLens keeps its own buckets."""
    if endpoint is None:
        return True
    given = urlsplit(endpoint)
    return any(
        (given.hostname, given.port) == (urlsplit(one).hostname, urlsplit(one).port)
        for one in (own.s3_endpoint_url, own.aws_endpoint_url)
        if one
    ) or (given.hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _refused(detail: str) -> ApiError:
    return ApiError(422, "store-refused", "Store refused", detail)
