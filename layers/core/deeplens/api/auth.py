"""Who calls. The tenant comes from the principal and from nowhere else."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Request
from fastapi.security import APIKeyHeader

from deeplens.api.parts import ApiParts, Parts
from deeplens.api.quotas import effective_limits, rate_headers, rate_limited
from deeplens.domain import Principal, Tenant
from deeplens.errors import ApiError, TenantNotFound
from deeplens.limits import ResourceLimits, request_rate

READ, WRITE, ADMIN = "deeplens.api.read", "deeplens.api.write", "deeplens.api.admin"
CHALLENGE = {"WWW-Authenticate": 'ApiKey realm="deeplens"'}
api_key = APIKeyHeader(
    name="X-API-Key", scheme_name="apiKey", description="A key of your tenant, with its scopes.", auto_error=False
)


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated principal and the tenant it acts for.

    Attributes
    ----------
    limits : what counts for the tenant; None is unlimited.
    requests : of the tenant in this minute, this one included.
    """

    principal: Principal
    tenant: Tenant
    limits: ResourceLimits
    requests: int


def principal_of(parts: Parts, presented: Annotated[str | None, Depends(api_key)]) -> Principal:
    if not presented:
        raise ApiError(401, "unauthenticated", "Authentication required", "Send your key as X-API-Key.", CHALLENGE)
    principal = parts.api_keys.authenticate(presented)
    if principal is None:
        raise ApiError(401, "invalid-api-key", "API key not valid", "It is unknown, expired or revoked.", CHALLENGE)
    return principal


def requires(scope: str) -> Callable[[Request, Parts, Principal], Caller]:
    """A dependency that lets only principals with ``scope`` of an active tenant pass, as often as it may call."""

    def caller(request: Request, parts: Parts, principal: Annotated[Principal, Depends(principal_of)]) -> Caller:
        refused = ApiError(403, "insufficient-scope", "Insufficient scope", f"This needs the scope {scope}.")
        if principal.tenant_id is None and not principal.may(scope):
            raise refused
        # A tenant's request counts before it may be refused: refusals cost as well.
        admitted = _counted(request, parts, principal)
        if not principal.may(scope):
            raise refused
        return admitted

    return caller


def _counted(request: Request, parts: ApiParts, principal: Principal) -> Caller:
    """Count the request, and let its answer tell the rate. Raises 429 beyond the tenant's limit."""
    tenant = _active_tenant(parts, principal)
    limits, now = effective_limits(tenant, parts.settings), parts.clock.now()
    requests = parts.request_counters.count(tenant.id, now)
    if limits.requests_per_minute is not None:
        rate = request_rate(limits.requests_per_minute, requests, now)
        request.state.headers = rate_headers(rate)
        if rate.exceeded:
            raise rate_limited(rate)
    return Caller(principal, tenant, limits, requests)


def _active_tenant(parts: ApiParts, principal: Principal) -> Tenant:
    if principal.tenant_id is None:
        raise ApiError(403, "no-tenant", "No tenant", "These credentials belong to no tenant.")
    try:
        tenant = parts.tenants.get(principal.tenant_id)
    except TenantNotFound:
        raise ApiError(403, "tenant-not-found", "Tenant not found", "Your tenant no longer exists.") from None
    if tenant.status != "active":
        raise ApiError(403, "tenant-not-active", "Tenant not active", f"Your tenant is {tenant.status}.")
    return tenant


def administered_tenant(
    parts: Parts,
    principal: Annotated[Principal, Depends(principal_of)],
    tenant_id: Annotated[str, Path(examples=["tenant_demo"])],
) -> Tenant:
    """The tenant in the path, read now: an operator's credentials reach every one, a tenant's own only itself."""
    if not principal.may(ADMIN):
        raise ApiError(403, "insufficient-scope", "Insufficient scope", f"This needs the scope {ADMIN}.")
    missing = ApiError(404, "tenant-not-found", "Tenant not found", f"There is no tenant {tenant_id[:64]}.")
    if principal.tenant_id not in (None, tenant_id):
        raise missing
    try:
        return parts.tenants.get(tenant_id, fresh=True)
    except TenantNotFound:
        raise missing from None


Administrator = Annotated[Tenant, Depends(administered_tenant)]
Reader = Annotated[Caller, Depends(requires(READ))]
Writer = Annotated[Caller, Depends(requires(WRITE))]
