"""The nouns of signing in: users, clients, codes, token families, sessions."""

from dataclasses import dataclass
from datetime import datetime, timedelta

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
    """An authorization code's content.

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
    """All tokens that one authorization code led to; they end together."""

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
    """A browser that a user signed in with; ``id`` is public, the cookie's secret is not kept."""

    id: str
    user: User
    authenticated_at: datetime
