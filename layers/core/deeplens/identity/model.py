"""Users, accounts, codes, token families and sessions."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NewType

Issuer = NewType("Issuer", str)
"""The base URL of the Identity API."""
Environment = NewType("Environment", str)
"""The name of the deployment; ``local`` is the local stack."""
CODE_LIFE = timedelta(minutes=1)
FAMILY_LIFE = timedelta(days=30)
SESSION_LIFE = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who can sign in. Platform administrators have no tenant."""

    id: str
    tenant_id: str | None
    email: str
    name: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Code:
    """The content of an authorization code.

    Attributes
    ----------
    family : of the tokens that it leads to.
    authenticated_at : when the user last gave the password.
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


@dataclass(frozen=True, slots=True)
class Session:
    """A browser's session; ``id`` is public, the cookie's secret is stored as a hash only."""

    id: str
    user: User
    authenticated_at: datetime


@dataclass(frozen=True, slots=True)
class Account:
    """A user as administrators see it."""

    id: str
    tenant_id: str | None
    email: str
    name: str
    roles: tuple[str, ...]
    status: Literal["active", "disabled"]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ClientRecord:
    """An OAuth client without its secret."""

    id: str
    tenant_id: str | None
    name: str
    confidential: bool
    redirect_uris: tuple[str, ...]
    post_logout_redirect_uris: tuple[str, ...]
    grants: tuple[str, ...]
    scopes: tuple[str, ...]
    needs_consent: bool
