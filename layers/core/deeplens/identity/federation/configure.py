"""Set and remove a tenant's provider; the client's secret is in the secret store, never in a row."""

from collections.abc import Sequence

from deeplens.errors import ApiError
from deeplens.identity.federation.credentials import ProviderSecrets
from deeplens.identity.federation.model import (
    DISCOVERY_PATH,
    DOMAIN,
    IdentityProvider,
    ProviderFault,
    metadata_of,
)
from deeplens.identity.federation.ports import IdentityProviders, ProviderEndpoint


class ConfigureProvider:
    """Check and store a provider."""

    def __init__(self, providers: IdentityProviders, endpoint: ProviderEndpoint, secrets: ProviderSecrets) -> None:
        self._providers, self._endpoint, self._secrets = providers, endpoint, secrets

    def __call__(self, provider: IdentityProvider, domains: Sequence[str], secret: str | None) -> None:
        """Raise ``ApiError`` 422 for what the administrator has to correct."""
        if invalid := [domain for domain in domains if not DOMAIN.fullmatch(domain)]:
            raise _refusal(f"{invalid[0][:253]} is not a domain name. Write an international one as xn--….")
        try:
            metadata_of(self._endpoint.get(f"{provider.issuer}{DISCOVERY_PATH}"), provider.issuer)
        except ProviderFault as fault:
            raise _refusal(str(fault)) from None
        if secret is None and self._providers.of_tenant(provider.tenant_id) is None:
            raise _refusal("The first time, send clientSecret, which the provider gave you.")
        if secret is not None:
            self._secrets.replace(provider.tenant_id, secret)
        self._providers.save(provider, domains)

    def remove(self, tenant_id: str) -> bool:
        """Return False when there is no provider."""
        removed = self._providers.delete(tenant_id)
        self._secrets.delete(tenant_id)
        return removed


def _refusal(detail: str) -> ApiError:
    return ApiError(422, "identity-provider-not-possible", "Identity provider not possible", detail)
