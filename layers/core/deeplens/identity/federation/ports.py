"""The ports of federation. Every method of ``IdentityProviders`` raises ``DatabaseUnavailable``."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from deeplens.identity.federation.model import Domain, IdentityProvider, PendingSignIn, VerifiedDomain
from deeplens.identity.model import Account


class IdentityProviders(Protocol):
    """Tenants' providers, their domains, sign-ins that began, and the accounts that providers vouch for."""

    def of_tenant(self, tenant_id: str) -> IdentityProvider | None: ...

    def of_domain(self, domain: str) -> IdentityProvider | None:
        """The provider of the active tenant that has verified the domain."""

    def organisation(self, tenant_id: str) -> str | None:
        """The name of an active tenant that has a provider and a verified domain."""

    def exist(self) -> bool:
        """Whether any tenant has a provider with a verified domain."""

    def save(self, provider: IdentityProvider, domains: Sequence[str]) -> None:
        """Create or replace a tenant's provider. Domains that it keeps stay verified."""

    def delete(self, tenant_id: str) -> bool: ...

    def domains(self, tenant_id: str) -> list[Domain]: ...

    def verify(self, tenant_id: str, domain: str, now: datetime) -> None:
        """Mark a domain as verified. Raises ``DomainTaken``."""

    def claim_domains(self, now: datetime, checked_before: datetime, limit: int) -> list[VerifiedDomain]:
        """Verified domains that were not checked since then, the oldest first; they count as checked now."""

    def mark_missing(self, tenant_id: str, domain: str, since: datetime | None) -> None:
        """Record since when the TXT record of a domain is missing; None when it was found."""

    def end_verification(self, tenant_id: str, domain: str, missing_before: datetime) -> bool:
        """Let the provider sign in nobody of the domain. Returns False if its record was found meanwhile."""

    def begin(self, state: str, pending: PendingSignIn, now: datetime) -> None: ...

    def take(self, state: str, now: datetime) -> PendingSignIn | None:
        """The sign-in with this state, which is thereby used up."""

    def account(self, tenant_id: str, issuer: str, subject: str) -> Account | None:
        """The account, of any status, that is linked to a person at the provider."""

    def account_at(self, email: str) -> Account | None:
        """The account of any owner and status with this address."""

    def link(self, tenant_id: str, issuer: str, subject: str, user_id: str) -> None: ...


class ProviderEndpoint(Protocol):
    """Requests to tenants' providers. Raises ``ProviderFault``, for internal addresses too."""

    def get(self, url: str) -> Any:
        """The JSON at a URL."""

    def post(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> Any:
        """The JSON that answers a form."""


class TxtRecords(Protocol):
    def lookup(self, name: str) -> list[str]:
        """The texts of a name's TXT records; none when the name does not exist or nobody answers."""
