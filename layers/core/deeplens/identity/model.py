"""Users, OAuth clients, codes, token families and sessions.

Clients, codes and families have the methods that Authlib calls on them, and nothing here imports Authlib.
"""

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, NewType

from deeplens.access.api_keys import digest
from deeplens.access.scopes import API_SCOPES

Issuer = NewType("Issuer", str)
"""The base URL of the Identity API."""
Environment = NewType("Environment", str)
"""The name of the deployment; ``local`` is the local stack."""
CODE_LIFE = timedelta(minutes=1)
FAMILY_LIFE = timedelta(days=30)
REUSE_WINDOW = timedelta(seconds=10)
"""How long a spent refresh token answers its successor again: two tabs of a browser may refresh at once."""
SESSION_LIFE = timedelta(hours=12)
"""The longest: a deployment may set shorter limits (``sessions/model.py``)."""
ATTEMPT_WINDOW = timedelta(minutes=15)
"""How long attempts to sign in are counted, from a counter's first one on; then it begins anew."""
RECENT_SIGN_IN = timedelta(minutes=10)
"""How long after a sign-in people may change their factors and their address."""
LOOPBACK = re.compile(r"(http://(?:127\.0\.0\.1|\[::1\]))(?::[1-9][0-9]{0,4})?((?:[/?].*)?)")
"""A redirect URI of an app on this machine, in parts without its port. A name, ``localhost``, may lead elsewhere."""
SECRET_METHODS = ("client_secret_basic", "client_secret_post")
PRIVATE_KEY_METHOD = "private_key_jwt"
CONFIDENTIAL_METHODS = (*SECRET_METHODS, PRIVATE_KEY_METHOD)
"""Who authenticates with a key has a secret that nobody knows, so that no other method lets it in."""
PASSWORD_ONLY = ("pwd",)
MULTI_FACTOR = "mfa"
"""The method (RFC 8176) of everybody who gave a second factor, whichever it was."""
ONE_FACTOR_ACR, TWO_FACTOR_ACR = "aal1", "aal2"
"""How strong a sign-in was, after the levels of NIST SP 800-63B."""


def acr_of(methods: Sequence[str]) -> str:
    """The authentication context class of a sign-in with these methods (``amr``)."""
    return TWO_FACTOR_ACR if MULTI_FACTOR in methods else ONE_FACTOR_ACR


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who can sign in. Platform administrators have no tenant."""

    id: str
    tenant_id: str | None
    email: str
    name: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Account(User):
    """A user as administrators see it; an invited one has no password yet and cannot sign in."""

    status: Literal["active", "disabled", "invited"]
    created_at: datetime


class AccountChange(NamedTuple):
    """What an administrator changes; None stays as it is."""

    name: str | None
    roles: Sequence[str] | None
    password: str | None
    status: str | None


@dataclass(frozen=True, slots=True)
class Session:
    """A browser's session; ``id`` is public, the cookie's secret is stored as a hash only.

    Attributes
    ----------
    methods : how the user signed in (``amr``, RFC 8176).
    last_seen_at : when the browser's last visit was recorded; None if it is not recorded.
    """

    id: str
    user: User
    authenticated_at: datetime
    methods: tuple[str, ...] = PASSWORD_ONLY
    last_seen_at: datetime | None = None

    @property
    def acr(self) -> str:
        return acr_of(self.methods)


@dataclass(frozen=True, slots=True)
class AttemptCounter:
    """One count of attempts to sign in; ``key`` is a hash and reveals no address."""

    key: bytes
    max_attempts: int


@dataclass(frozen=True, slots=True)
class Client:
    """A registered OAuth client; without a secret it is public.

    Attributes
    ----------
    scopes : those that it may request; a request without scopes gets its API scopes.
    """

    id: str
    tenant_id: str | None
    name: str
    secret_sha256: bytes | None = field(repr=False)
    redirect_uris: tuple[str, ...]
    post_logout_redirect_uris: tuple[str, ...]
    grants: tuple[str, ...]
    scopes: tuple[str, ...]
    needs_consent: bool = True

    @property
    def confidential(self) -> bool:
        return self.secret_sha256 is not None

    @property
    def client_metadata(self) -> dict[str, Any]:
        return {"post_logout_redirect_uris": list(self.post_logout_redirect_uris)}

    def admits(self, user: User) -> bool:
        """Whether the client may sign in this user: a tenant's client signs in users of its own tenant only."""
        return self.tenant_id is None or self.tenant_id == user.tenant_id

    def get_client_id(self) -> str:
        return self.id

    def get_default_redirect_uri(self) -> None:
        """None: every request has to name its redirect URI."""

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """The requested scopes, or the client's API scopes; None when a scope is not the client's."""
        requested = (scope or "").split() or [name for name in self.scopes if name in API_SCOPES]
        return " ".join(dict.fromkeys(requested)) if requested and set(requested) <= set(self.scopes) else None

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Compare exactly, except that an app on this machine listens at any port (RFC 8252, section 7.3)."""
        return any(redirect_uri == known or _same_but_for_port(redirect_uri, known) for known in self.redirect_uris)

    def check_client_secret(self, client_secret: str) -> bool:
        return self.secret_sha256 is not None and hmac.compare_digest(self.secret_sha256, digest(client_secret))

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:  # noqa: ARG002 - Authlib's signature
        return method in CONFIDENTIAL_METHODS if self.confidential else method == "none"

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code" and "authorization_code" in self.grants

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in self.grants


def _same_but_for_port(one: str, other: str) -> bool:
    """Whether both are redirect URIs to the same loopback address and path."""
    parts, known = LOOPBACK.fullmatch(one), LOOPBACK.fullmatch(other)
    return parts is not None and known is not None and parts.groups() == known.groups()


@dataclass(frozen=True, slots=True)
class Code:
    """The content of an authorization code.

    Attributes
    ----------
    family : of the tokens that it leads to.
    authenticated_at : when the user signed in.
    methods : how the user signed in (``amr``, RFC 8176).
    resources : the APIs that its tokens are for (RFC 8707); none means all.
    """

    family: str
    client_id: str
    user_id: str
    session_id: str
    redirect_uri: str
    scopes: tuple[str, ...]
    nonce: str | None
    code_challenge: str
    authenticated_at: datetime
    methods: tuple[str, ...] = PASSWORD_ONLY
    resources: tuple[str, ...] = ()

    @property
    def code_challenge_method(self) -> str:
        return "S256"

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return " ".join(self.scopes)

    def get_nonce(self) -> str | None:
        return self.nonce

    def get_auth_time(self) -> int:
        return int(self.authenticated_at.timestamp())

    def get_acr(self) -> str:
        return acr_of(self.methods)

    def get_amr(self) -> list[str]:
        return list(self.methods)


@dataclass(frozen=True, slots=True)
class Family:
    """All tokens that one authorization code led to; they are revoked together."""

    id: str
    client_id: str
    user_id: str
    session_id: str
    scopes: tuple[str, ...]
    authenticated_at: datetime
    expires_at: datetime
    live: bool
    methods: tuple[str, ...] = PASSWORD_ONLY
    resources: tuple[str, ...] = ()

    def check_client(self, client: Client) -> bool:
        return self.client_id == client.id

    def get_scope(self) -> str:
        return " ".join(self.scopes)

    def get_auth_time(self) -> int:
        return int(self.authenticated_at.timestamp())
