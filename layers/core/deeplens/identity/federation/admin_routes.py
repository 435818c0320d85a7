"""/v1/admin/tenants/{id}/identity-provider: a tenant's own provider and the domains that it signs in."""

from typing import Annotated

from fastapi import APIRouter, Depends

from deeplens.access.caller import Administrator, AuthenticatedAdministrator, check_grantable
from deeplens.access.model import Principal
from deeplens.access.scopes import API_SCOPES
from deeplens.common.ports import Clock
from deeplens.errors import ApiError
from deeplens.http.dependencies import Injected
from deeplens.http.problems import responses
from deeplens.http.schemas import view
from deeplens.identity.federation.configure import ConfigureProvider
from deeplens.identity.federation.model import CALLBACK_PATH, Domain, DomainTaken, IdentityProvider
from deeplens.identity.federation.ports import IdentityProviders, TxtRecords
from deeplens.identity.federation.schemas import DomainView, IdentityProviderRequest, IdentityProviderView
from deeplens.identity.model import Issuer
from deeplens.tenants.model import Tenant

router = APIRouter(prefix="/v1/admin/tenants/{tenant_id}/identity-provider", tags=["users"])


def whole_administrator(principal: AuthenticatedAdministrator) -> Principal:
    """An administrator with every scope: a provider signs in every user of the tenant."""
    check_grantable(principal, API_SCOPES)
    return principal


WholeAdministrator = Annotated[Principal, Depends(whole_administrator)]


@router.get("", summary="The tenant's identity provider", responses=responses(404))
def read_provider(
    tenant: Administrator, providers: Injected[IdentityProviders], issuer: Injected[Issuer]
) -> IdentityProviderView:
    """With the TXT records that prove control of its domains. The client's secret is not shown."""
    return _view(_require(providers.of_tenant(tenant.id)), providers.domains(tenant.id), issuer)


@router.put("", summary="Set the tenant's identity provider", responses=responses(404, 422))
def set_provider(
    tenant: Administrator,
    _: WholeAdministrator,
    providers: Injected[IdentityProviders],
    configure: Injected[ConfigureProvider],
    issuer: Injected[Issuer],
    body: IdentityProviderRequest,
) -> IdentityProviderView:
    """Its discovery document is read at once. Users of a domain sign in with it after the domain is verified."""
    provider = _provider(tenant, body)
    configure(provider, body.domains, body.client_secret.get_secret_value() if body.client_secret else None)
    return _view(provider, providers.domains(tenant.id), issuer)


@router.delete("", status_code=204, summary="Remove the tenant's identity provider", responses=responses(404))
def remove_provider(tenant: Administrator, _: WholeAdministrator, configure: Injected[ConfigureProvider]) -> None:
    """Accounts stay; their owners need a password from then on."""
    if not configure.remove(tenant.id):
        raise _not_found()


@router.post("/domains/{domain}/verify", summary="Verify a domain", responses=responses(404, 409, 422))
def verify_domain(
    tenant: Administrator,
    _: WholeAdministrator,
    providers: Injected[IdentityProviders],
    records: Injected[TxtRecords],
    clock: Injected[Clock],
    domain: str,
) -> DomainView:
    """Looks for the TXT record. A domain belongs to one tenant, and to nobody while others have accounts in it."""
    found = {known.domain: known for known in providers.domains(tenant.id)}.get(domain.lower())
    if found is None:
        raise ApiError(404, "domain-not-found", "Domain not found", "The identity provider has no such domain.")
    if found.txt_value not in records.lookup(found.txt_name):
        detail = f"There is no TXT record {found.txt_name} with the value {found.txt_value}. DNS may take an hour."
        raise ApiError(422, "domain-not-verified", "Domain not verified", detail)
    try:
        providers.verify(tenant.id, found.domain, clock.now())
    except DomainTaken:
        detail = f"Another owner has {found.domain}, or accounts in it. Ask the operator of the platform."
        raise ApiError(409, "domain-taken", "Domain taken", detail) from None
    return _domain(found, verified=True)


def _provider(tenant: Tenant, body: IdentityProviderRequest) -> IdentityProvider:
    names = ("issuer", "client_id", "email_claim", "name_claim", "roles_claim", "default_role", "federation_only")
    values = {name: getattr(body, name) for name in names}
    return IdentityProvider(tenant_id=tenant.id, role_values=body.roles, **values)


def _view(provider: IdentityProvider, domains: list[Domain], issuer: str) -> IdentityProviderView:
    views = [_domain(domain, domain.verified_at is not None) for domain in domains]
    redirect_uri = f"{issuer}{CALLBACK_PATH}"
    roles = dict(provider.role_values)
    return view(IdentityProviderView, provider, roles=roles, redirect_uri=redirect_uri, domains=views)


def _domain(domain: Domain, verified: bool) -> DomainView:
    return view(DomainView, domain, verified=verified)


def _require(provider: IdentityProvider | None) -> IdentityProvider:
    if provider is None:
        raise _not_found()
    return provider


def _not_found() -> ApiError:
    detail = "This tenant has no identity provider."
    return ApiError(404, "identity-provider-not-found", "Identity provider not found", detail)
