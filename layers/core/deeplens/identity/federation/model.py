"""A tenant's own provider, its domains, and what is believed of an ID token: data and pure decisions."""

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

FEDERATED = "fed"
"""The method of a session that an organisation's provider vouches for."""
REQUEST_LIFE = timedelta(minutes=10)
"""How long a person may take at the provider."""
ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
SCOPES = ("openid", "profile", "email")
DISCOVERY_PATH = "/.well-known/openid-configuration"
CALLBACK_PATH = "/account/federation/callback"
MAX_CLAIM_CHARS = 320
DOMAIN = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?")


class ProviderFault(Exception):
    """The provider is not reachable, or says what is not allowed; the text explains it to an administrator."""


class FederationRefused(Exception):
    """The provider's answer does not sign anybody in. ``reason`` is a stable word for the log."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class DomainTaken(Exception):
    """Another tenant has verified the domain, or another owner has accounts in it."""


@dataclass(frozen=True, slots=True)
class IdentityProvider:
    """The provider of one tenant.

    Attributes
    ----------
    role_values : roles by values of the claim ``roles_claim``.
    default_role : of users for whom no value has a role.
    federation_only : whether passwords are not accepted for the verified domains.
    """

    tenant_id: str
    issuer: str
    client_id: str
    email_claim: str
    name_claim: str
    roles_claim: str | None
    role_values: Mapping[str, str]
    default_role: str
    federation_only: bool

    def roles_of(self, claims: Mapping[str, Any]) -> tuple[str, ...]:
        """The roles that a user's claims give in the tenant."""
        values = claims.get(self.roles_claim) if self.roles_claim else []
        values = [values] if isinstance(values, str) else values if isinstance(values, list) else []
        roles = {self.role_values[value] for value in values if isinstance(value, str) and value in self.role_values}
        return tuple(sorted(roles)) or (self.default_role,)


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain of addresses; it is used once a TXT record has proved that the tenant controls it."""

    domain: str
    challenge: str
    verified_at: datetime | None

    @property
    def txt_name(self) -> str:
        return f"_deeplens-challenge.{self.domain}"

    @property
    def txt_value(self) -> str:
        return f"deeplens-verification={self.challenge}"


@dataclass(frozen=True, slots=True)
class VerifiedDomain:
    """A tenant's verified domain whose TXT record is to be looked for again.

    Attributes
    ----------
    missing_since : when the record was first missed; None after it was found.
    """

    tenant_id: str
    record: Domain
    missing_since: datetime | None


@dataclass(frozen=True, slots=True)
class ProviderMetadata:
    """What a provider's discovery document says, as far as it is needed."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    sends_issuer: bool
    posts_secret: bool
    scope: str


@dataclass(frozen=True, slots=True)
class PendingSignIn:
    """A sign-in that began; ``browser_sha256`` is of the cookie of the browser that it belongs to."""

    tenant_id: str
    browser_sha256: bytes
    goal: str


@dataclass(frozen=True, slots=True)
class Profile:
    """A person as the provider describes them."""

    subject: str
    email: str
    name: str
    roles: tuple[str, ...]
    methods: tuple[str, ...]


def secret_name(tenant_id: str) -> str:
    """The name of the secret with which DeepLens is a client of the tenant's provider."""
    return f"deeplens/identity/providers/{tenant_id}"


def new_challenge() -> str:
    return secrets.token_urlsafe(24)


def domain_of(email: str) -> str:
    return email.strip().lower().rpartition("@")[2]


def derived(browser_secret: str, purpose: str) -> str:
    """The nonce or the PKCE verifier of a browser's sign-in: nobody without its cookie knows them."""
    return hashlib.sha256(f"{purpose}\0{browser_secret}".encode()).hexdigest()


def metadata_of(document: Any, issuer: str) -> ProviderMetadata:
    """Read a discovery document. Raises ``ProviderFault``, also when it is another issuer's (mix-up)."""
    known = document if isinstance(document, dict) else {}
    if known.get("issuer") != issuer:
        raise ProviderFault(f"The discovery document does not name {issuer} as its issuer.")
    names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
    endpoints = {name: known.get(name) for name in names}
    if missing := [name for name, url in endpoints.items() if not isinstance(url, str)]:
        raise ProviderFault(f"The discovery document has no {missing[0]}.")
    methods = known.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    return ProviderMetadata(
        issuer=issuer,
        sends_issuer=known.get("authorization_response_iss_parameter_supported") is True,
        posts_secret="client_secret_basic" not in methods and "client_secret_post" in methods,
        scope=" ".join(scope for scope in SCOPES if scope in known.get("scopes_supported", SCOPES)),
        **endpoints,  # type: ignore[arg-type]
    )


def profile_of(claims: Mapping[str, Any], provider: IdentityProvider) -> Profile:
    """The person in the claims of a verified ID token. Raises ``FederationRefused``."""
    subject, email, name = (claims.get(claim) for claim in ("sub", provider.email_claim, provider.name_claim))
    if not isinstance(subject, str) or not 0 < len(subject) <= 255:
        raise FederationRefused("no_subject")
    if not isinstance(email, str) or len(email) > MAX_CLAIM_CHARS or not re.fullmatch(r"[^@\s]+@[^@\s]+", email):
        raise FederationRefused("no_email")
    if claims.get("email_verified") is False:
        raise FederationRefused("email_not_verified")
    amr = claims.get("amr")
    methods = (FEDERATED, "mfa") if isinstance(amr, list) and "mfa" in amr else (FEDERATED,)
    shown = name if isinstance(name, str) and name.strip() else email
    return Profile(subject, email.lower(), shown[:200], provider.roles_of(claims), methods)
