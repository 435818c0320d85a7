"""/v1/admin/tenants/{id}/keys: API keys, rotated without downtime."""

from datetime import timedelta

from fastapi import APIRouter

from deeplens.access.caller import Administrator, AuthenticatedAdministrator, check_grantable
from deeplens.access.ports import ApiKeys
from deeplens.access.schemas import KeyRequest, Keys, NewKeyView, RotationRequest
from deeplens.common.ports import Clock
from deeplens.errors import ApiError
from deeplens.http.dependencies import Injected
from deeplens.http.fields import MAX_PAGE, After, PageLimit, validation_error
from deeplens.http.problems import responses
from deeplens.http.schemas import view

router = APIRouter(prefix="/v1/admin/tenants/{tenant_id}/keys", tags=["keys"])


@router.get("", summary="Live keys", responses=responses(404))
def list_keys(tenant: Administrator, keys: Injected[ApiKeys], after: After = "", limit: PageLimit = MAX_PAGE) -> Keys:
    page = keys.of_tenant(tenant.id, after, limit)
    return Keys(keys=page, next=page[-1].prefix if len(page) == limit else None)


@router.post("", status_code=201, summary="Create a key", responses=responses(404))
def create_key(
    tenant: Administrator,
    principal: AuthenticatedAdministrator,
    keys: Injected[ApiKeys],
    clock: Injected[Clock],
    body: KeyRequest,
) -> NewKeyView:
    """Create a key, of which only a SHA-256 is kept. A caller can give only scopes that they have."""
    check_grantable(principal, body.scopes)
    if body.expires_at is not None and body.expires_at <= clock.now():
        raise validation_error("body", ("expiresAt",), "is in the past")
    return _view(keys, tenant.id, keys.create(tenant.id, body.name, body.scopes, body.expires_at))


@router.post("/{prefix}/rotate", status_code=201, summary="Replace a key", responses=responses(404))
def rotate_key(
    tenant: Administrator,
    principal: AuthenticatedAdministrator,
    keys: Injected[ApiKeys],
    clock: Injected[Clock],
    prefix: str,
    body: RotationRequest | None = None,
) -> NewKeyView:
    """A new key with the same name, scopes and expiry; the old one goes on for the overlap, then ends.

    A caller can rotate only keys whose scopes they have.
    """
    try:
        check_grantable(principal, keys.find(tenant.id, prefix).scopes)
    except KeyError:
        raise _key_not_found(prefix) from None
    overlap = timedelta(hours=(body or RotationRequest()).overlap_hours)
    presented = keys.rotate(tenant.id, prefix, clock.now() + overlap)
    if presented is None:
        raise _key_not_found(prefix)
    return _view(keys, tenant.id, presented)


@router.delete("/{prefix}", status_code=204, summary="Revoke a key", responses=responses(404))
def revoke_key(tenant: Administrator, keys: Injected[ApiKeys], prefix: str) -> None:
    """In effect everywhere within ten seconds."""
    if not keys.revoke(prefix, tenant.id):
        raise _key_not_found(prefix)


def _view(keys: ApiKeys, tenant_id: str, presented: str) -> NewKeyView:
    return view(NewKeyView, keys.find(tenant_id, presented.split("_")[1]), key=presented)


def _key_not_found(prefix: str) -> ApiError:
    return ApiError(404, "key-not-found", "Key not found", f"There is no live key {prefix[:32]}.")
