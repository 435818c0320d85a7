"""/v1/admin/tenants/{id}/keys: API keys, rotated without downtime."""

from datetime import timedelta

from fastapi import APIRouter

from deeplens.access.api_keys import KeyRecord
from deeplens.access.caller import Administrator, AuthenticatedAdministrator
from deeplens.access.schemas import KeyRequest, Keys, KeyView, NewKeyView, RotationRequest
from deeplens.errors import ApiError
from deeplens.http.dependencies import Admin
from deeplens.http.fields import refusal
from deeplens.http.problems import responses

router = APIRouter(prefix="/v1/admin/tenants/{tenant_id}/keys", tags=["keys"])


@router.get("", summary="Live keys", responses=responses(404))
def list_keys(parts: Admin, tenant: Administrator) -> Keys:
    return Keys(keys=[KeyView(**shown(one)) for one in parts.api_keys.of_tenant(tenant.id)])


@router.post("", status_code=201, summary="Create a key", responses=responses(404))
def create_key(
    parts: Admin, tenant: Administrator, principal: AuthenticatedAdministrator, wanted: KeyRequest
) -> NewKeyView:
    """Of which only a SHA-256 is kept. Nobody can give a scope that they lack."""
    if missing := sorted(set(wanted.scopes) - principal.scopes) if principal.tenant_id else []:
        raise ApiError(403, "insufficient-scope", "Insufficient scope", f"You lack {', '.join(missing)} yourself.")
    if wanted.expires_at is not None and wanted.expires_at <= parts.clock.now():
        raise refusal("body", ("expiresAt",), "is in the past")
    presented = parts.api_keys.create(tenant.id, wanted.name, wanted.scopes, wanted.expires_at)
    return _new(parts, tenant.id, presented)


@router.post("/{prefix}/rotate", status_code=201, summary="Replace a key", responses=responses(404))
def rotate_key(parts: Admin, tenant: Administrator, prefix: str, wanted: RotationRequest | None = None) -> NewKeyView:
    """A new key with the same name, scopes and expiry; the old one goes on for the overlap, then ends."""
    overlap = timedelta(hours=(wanted or RotationRequest()).overlap_hours)
    presented = parts.api_keys.rotate(tenant.id, prefix, parts.clock.now() + overlap)
    if presented is None:
        raise _missing(prefix)
    return _new(parts, tenant.id, presented)


@router.delete("/{prefix}", status_code=204, summary="Revoke a key", responses=responses(404))
def revoke_key(parts: Admin, tenant: Administrator, prefix: str) -> None:
    """In effect everywhere within ten seconds."""
    if not parts.api_keys.revoke(prefix, tenant.id):
        raise _missing(prefix)


def shown(record: KeyRecord) -> dict[str, object]:
    return {name: getattr(record, name) for name in KeyView.model_fields}


def _new(parts: Admin, tenant_id: str, presented: str) -> NewKeyView:
    record = parts.api_keys.find(tenant_id, presented)
    return NewKeyView.model_validate({**shown(record), "key": presented})


def _missing(prefix: str) -> ApiError:
    return ApiError(404, "key-not-found", "Key not found", f"There is no live key {prefix[:32]}.")
