"""Who calls. The tenant comes from the principal and from nowhere else."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Path, Request
from fastapi.security import APIKeyHeader, OAuth2AuthorizationCodeBearer

from deeplens.access.principal import Principal
from deeplens.access.scopes import ADMIN, API_SCOPES, READ, WRITE
from deeplens.errors import ApiError, DependencyUnavailable, TenantNotFound
from deeplens.http.dependencies import Admin, ApiParts, Parts
from deeplens.http.rate import rate_headers, rate_limited
from deeplens.http.schemas import OAUTH
from deeplens.telemetry import logger
from deeplens.tenants.limits import ResourceLimits, request_rate
from deeplens.tenants.model import Tenant
from deeplens.tenants.records import TenantRecord

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="deeplens", ApiKey realm="deeplens"'}
BAD_TOKEN = {"WWW-Authenticate": 'Bearer realm="deeplens", error="invalid_token"'}
api_key = APIKeyHeader(
    name="X-API-Key", scheme_name="apiKey", description="A key of your tenant, with its scopes.", auto_error=False
)
access_token = OAuth2AuthorizationCodeBearer(
    "/connect/authorize",
    "/connect/token",
    scheme_name=OAUTH,
    scopes=dict.fromkeys(API_SCOPES, ""),
    description="An access token of the identity API.",
    auto_error=False,
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


def principal_of(
    parts: Parts,
    key: Annotated[str | None, Depends(api_key)],
    token: Annotated[str | None, Depends(access_token)],
) -> Principal:
    """The principal of an API key or a bearer token; of both it would not be clear whose."""
    if key and token:
        raise ApiError(400, "ambiguous-credentials", "Ambiguous credentials", "Send a key or a token, not both.")
    if token:
        return _known(parts.bearer_tokens.authenticate(token), "invalid-token", "Access token not valid", BAD_TOKEN)
    if key:
        return _known(parts.api_keys.authenticate(key), "invalid-api-key", "API key not valid", CHALLENGE)
    detail = "Send a key as X-API-Key, or an access token as Authorization: Bearer."
    raise ApiError(401, "unauthenticated", "Authentication required", detail, CHALLENGE)


def _known(principal: Principal | None, code: str, title: str, challenge: dict[str, str]) -> Principal:
    if principal is None:
        raise ApiError(401, code, title, "It is unknown, expired or revoked.", challenge)
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
    limits, now = tenant.effective_limits(parts.default_limits), parts.clock.now()
    requests = _count(parts, tenant.id, now)
    if limits.requests_per_minute is not None:
        rate = request_rate(limits.requests_per_minute, requests, now)
        request.state.headers = rate_headers(rate)
        if rate.exceeded:
            raise rate_limited(rate)
    return Caller(principal, tenant, limits, requests)


def _count(parts: ApiParts, tenant_id: str, now: datetime) -> int:
    """Nobody is refused because a request could not be counted."""
    try:
        return parts.request_counters.count(tenant_id, now)
    except DependencyUnavailable as error:
        logger().warning("not counted", tenant_id=tenant_id, reason=str(error))
        return 0


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


def administrator(parts: Parts, principal: Annotated[Principal, Depends(principal_of)]) -> Principal:
    """Somebody with the scope for administration: an operator, or of an active tenant."""
    if not principal.may(ADMIN):
        raise ApiError(403, "insufficient-scope", "Insufficient scope", f"This needs the scope {ADMIN}.")
    if principal.tenant_id is not None:
        _active_tenant(parts, principal)
    return principal


AuthenticatedAdministrator = Annotated[Principal, Depends(administrator)]
TenantInPath = Annotated[str, Path(examples=["tenant_demo"])]


def operator(principal: AuthenticatedAdministrator) -> Principal:
    """An administrator of the platform."""
    if principal.tenant_id is not None:
        raise ApiError(403, "operators-only", "Operators only", "This needs credentials of the platform itself.")
    return principal


def administered_tenant(parts: Parts, principal: AuthenticatedAdministrator, tenant_id: TenantInPath) -> Tenant:
    """The tenant in the path, read now: an operator's credentials reach every one, a tenant's own only itself."""
    if principal.tenant_id not in (None, tenant_id):
        raise no_tenant(tenant_id)
    try:
        return parts.tenants.get(tenant_id, fresh=True)
    except TenantNotFound:
        raise no_tenant(tenant_id) from None


def administered_record(parts: Admin, principal: AuthenticatedAdministrator, tenant_id: TenantInPath) -> TenantRecord:
    """The same, in whatever status it is."""
    record = parts.tenant_records.find(tenant_id) if principal.tenant_id in (None, tenant_id) else None
    if record is None:
        raise no_tenant(tenant_id)
    return record


def no_tenant(tenant_id: str) -> ApiError:
    return ApiError(404, "tenant-not-found", "Tenant not found", f"There is no tenant {tenant_id[:64]}.")


Operator = Annotated[Principal, Depends(operator)]
Administrator = Annotated[Tenant, Depends(administered_tenant)]
AdministeredRecord = Annotated[TenantRecord, Depends(administered_record)]
Reader = Annotated[Caller, Depends(requires(READ))]
Writer = Annotated[Caller, Depends(requires(WRITE))]
