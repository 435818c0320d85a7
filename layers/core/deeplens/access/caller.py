"""Authentication, scopes and rate limit of a request. The tenant comes only from the credentials."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Request
from fastapi.security import APIKeyHeader, OAuth2AuthorizationCodeBearer

from deeplens.access.audiences import api_of
from deeplens.access.model import Principal
from deeplens.access.ports import AccessTokens, ApiKeys
from deeplens.access.request_counter import RequestCounter
from deeplens.access.scopes import ADMIN, API_SCOPES, IDENTITY_SCOPES, READ, WRITE
from deeplens.common.ports import Clock
from deeplens.common.resolve import Lazy
from deeplens.errors import ApiError, TenantNotFound
from deeplens.http.dependencies import Injected
from deeplens.http.rate import rate_headers, rate_limited
from deeplens.http.schemas import OAUTH
from deeplens.telemetry.security import security_event
from deeplens.tenants.limits import ResourceLimits, request_rate
from deeplens.tenants.model import Tenant, TenantRecord
from deeplens.tenants.ports import TenantDirectory, TenantRecords

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
    limits : of the tenant, defaults included; None is unlimited.
    requests : of the tenant in this minute, this one included.
    """

    principal: Principal
    tenant: Tenant
    limits: ResourceLimits
    requests: int


class Authenticate:
    """The principal of an API key or an access token. Both together are ambiguous."""

    def __init__(self, keys: ApiKeys, tokens: Lazy[AccessTokens]) -> None:
        self._keys, self._tokens = keys, tokens

    def __call__(self, key: str | None, token: str | None, api: str) -> Principal:
        if key and token:
            raise ApiError(400, "ambiguous-credentials", "Ambiguous credentials", "Send a key or a token, not both.")
        if token:
            return _valid(self._tokens().authenticate(token, api), "invalid-token", "Access token not valid", BAD_TOKEN)
        if key:
            return _valid(self._keys.authenticate(key), "invalid-api-key", "API key not valid", CHALLENGE)
        detail = "Send a key as X-API-Key, or an access token as Authorization: Bearer."
        raise ApiError(401, "unauthenticated", "Authentication required", detail, CHALLENGE)


def principal_of(
    request: Request,
    authenticate: Injected[Authenticate],
    key: Annotated[str | None, Depends(api_key)],
    token: Annotated[str | None, Depends(access_token)],
) -> Principal:
    principal = authenticate(key, token, api_of(request.url.path))
    request.state.caller = {"subject": principal.subject, "tenant_id": principal.tenant_id}
    return principal


Authenticated = Annotated[Principal, Depends(principal_of)]


def _valid(principal: Principal | None, code: str, title: str, challenge: dict[str, str]) -> Principal:
    if principal is None:
        security_event("credentials_rejected", code=code)
        raise ApiError(401, code, title, "It is unknown, expired or revoked.", challenge)
    return principal


def requires(scope: str) -> Callable[..., Caller]:
    """A dependency that admits principals with ``scope`` of an active tenant within its rate limit."""

    def caller(
        request: Request,
        principal: Authenticated,
        tenants: Injected[TenantDirectory],
        counter: Injected[RequestCounter],
        default_limits: Injected[ResourceLimits],
        clock: Injected[Clock],
    ) -> Caller:
        # A tenant's request is counted before it may be rejected: rejections cost as well.
        if principal.tenant_id is None:
            check_scope(principal, scope)
        tenant, now = active_tenant(tenants, principal), clock.now()
        limits, requests = tenant.effective_limits(default_limits), counter.count_request(tenant.id, now)
        if limits.requests_per_minute is not None:
            rate = request_rate(limits.requests_per_minute, requests, now)
            request.state.headers = rate_headers(rate)
            if rate.exceeded:
                raise rate_limited(rate)
        check_scope(principal, scope)
        return Caller(principal, tenant, limits, requests)

    return caller


def check_scope(principal: Principal, scope: str) -> None:
    if scope not in principal.scopes:
        raise ApiError(403, "insufficient-scope", "Insufficient scope", f"This needs the scope {scope}.")


def check_grantable(principal: Principal, scopes: Iterable[str]) -> None:
    """Raise ``ApiError`` 403 where a tenant's administrator grants API scopes that it lacks itself.

    The same holds for each route that hands out an existing credential, or changes it: its scopes are granted anew.
    """
    missing = set(scopes) - principal.scopes - set(IDENTITY_SCOPES)
    if principal.tenant_id and missing:
        names = ", ".join(sorted(missing))
        detail = f"This credential gives {names}, which yours does not. Use credentials that have every scope of it."
        raise ApiError(403, "insufficient-scope", "Insufficient scope", detail)


def active_tenant(tenants: TenantDirectory, principal: Principal) -> Tenant:
    """The principal's tenant. ``ApiError`` 403 when there is none, or it is not active."""
    if principal.tenant_id is None:
        raise ApiError(403, "no-tenant", "No tenant", "These credentials belong to no tenant.")
    try:
        tenant = tenants.get(principal.tenant_id)
    except TenantNotFound:
        raise ApiError(403, "tenant-not-found", "Tenant not found", "Your tenant no longer exists.") from None
    if tenant.status != "active":
        raise ApiError(403, "tenant-not-active", "Tenant not active", f"Your tenant is {tenant.status}.")
    return tenant


def administrator(principal: Authenticated, tenants: Injected[TenantDirectory]) -> Principal:
    """A principal with the scope for administration: an operator, or of an active tenant."""
    check_scope(principal, ADMIN)
    if principal.tenant_id is not None:
        active_tenant(tenants, principal)
    return principal


AuthenticatedAdministrator = Annotated[Principal, Depends(administrator)]
TenantInPath = Annotated[str, Path(examples=["tenant_demo"])]


def operator(principal: AuthenticatedAdministrator) -> Principal:
    """An administrator of the platform."""
    if principal.tenant_id is not None:
        raise ApiError(403, "operators-only", "Operators only", "This needs credentials of the platform itself.")
    return principal


def administered_tenant(
    principal: AuthenticatedAdministrator, tenants: Injected[TenantDirectory], tenant_id: TenantInPath
) -> Tenant:
    """The tenant in the path, read from the database. A tenant's own credentials reach only itself."""
    if principal.tenant_id not in (None, tenant_id):
        raise no_tenant(tenant_id)
    try:
        return tenants.get(tenant_id, fresh=True)
    except TenantNotFound:
        raise no_tenant(tenant_id) from None


def administered_record(
    principal: AuthenticatedAdministrator, records: Injected[TenantRecords], tenant_id: TenantInPath
) -> TenantRecord:
    """The same for a tenant of any status."""
    record = records.find(tenant_id) if principal.tenant_id in (None, tenant_id) else None
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
