"""The ports of the Identity API. Every method raises ``DatabaseUnavailable``.

``owner`` is a tenant's id, or None for the platform. A method with an owner never reaches another owner's rows.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

from deeplens.identity.key_plan import SigningKey
from deeplens.identity.model import (
    PASSWORD_ONLY,
    Account,
    AccountChange,
    AttemptCounter,
    Client,
    Code,
    Family,
    Session,
    User,
)


class Clients(Protocol):
    """OAuth clients, and the scopes that users granted them."""

    def find(self, client_id: str) -> Client | None:
        """An active client of any owner."""

    def of_owner(self, owner: str | None, after: str, limit: int) -> list[Client]:
        """By id, after the id ``after``."""

    def save(self, client: Client) -> None:
        """Create a client, or replace its owner's. Raises ``TenantNotFound``, and ``ValueError`` for an unknown scope
        and for another owner's client."""

    def replace_secret(self, owner: str | None, client_id: str, secret_sha256: bytes) -> Client | None:
        """Returns None when there is no such client, or it is public."""

    def delete(self, owner: str | None, client_id: str) -> bool: ...

    def organisation(self, client: Client) -> str | None:
        """The name of the client's tenant; None for a client of the platform."""

    def granted_scopes(self, user_id: str, client_id: str) -> frozenset[str]: ...

    def grant_scopes(self, user_id: str, client_id: str, scopes: Iterable[str]) -> None:
        """Add to the scopes that the user granted the client."""


class Users(Protocol):
    """Users, their passwords and their browsers' sessions."""

    def find(self, user_id: str) -> User | None:
        """An active user of any owner."""

    def exist(self, emails: Iterable[str]) -> bool:
        """Whether an account has one of these addresses."""

    def of_owner(self, owner: str | None, after: str, limit: int) -> list[Account]:
        """By address, after the address ``after``; people who are invited are among them."""

    def create(self, user: User, password: str) -> Account | None:
        """Return None when the address is taken. Raises ``WeakPassword``, ``TenantNotFound``, and ``ValueError`` for an
        unknown role."""

    def change(
        self,
        owner: str | None,
        user_id: str,
        change: AccountChange,
        now: datetime,
        check: Callable[[Account], None] = lambda _: None,
        keep_session: str | None = None,
    ) -> Account | None:
        """Change what is not None. A new password, and disabling, end all sessions and token families, except those of
        the session ``keep_session``. Returns None for no such user.

        ``check`` sees the account, which nobody else can change meanwhile, and refuses the change by an exception.
        Raises ``WeakPassword`` too.
        """

    def delete(self, owner: str | None, user_id: str) -> bool: ...

    def sign_in(self, email: str, password: str) -> User | None:
        """The active user with this password, or None. Takes as long when there is no such user."""

    def open_session(self, user: User, now: datetime, methods: Sequence[str] = PASSWORD_ONLY) -> str:
        """Open a session for a user who signed in by ``methods``; returns its secret for the browser's cookie."""

    def session(self, secret: str, now: datetime) -> Session | None:
        """The open session of an active user."""

    def close_session(self, secret: str) -> None: ...


class SignInAttempts(Protocol):
    """Counts of attempts to sign in that did not succeed."""

    def count(self, counters: Sequence[AttemptCounter], now: datetime) -> bool:
        """Count an attempt with all counters. Returns False, and counts nothing, if one of them has its maximum."""

    def forgive(self, counters: Sequence[AttemptCounter]) -> None:
        """Count no longer an attempt that succeeded; the first counter, which is its own, begins anew."""

    def forget(self, now: datetime) -> None:
        """Delete counters whose window has ended."""


class Grants(Protocol):
    """Authorization codes and token families; each code works once, and each refresh token leads to one successor."""

    def issue_code(self, presented: str, code: Code, now: datetime) -> None: ...

    def redeem_code(self, presented: str, client_id: str, now: datetime) -> Code | None:
        """Use up a code and begin its family. Returns None for an invalid code; a replay revokes the family."""

    def begin(self, refresh_token: str, family: str) -> bool:
        """Store a family's first refresh token. Returns False when the family has been revoked."""

    def rotate(self, spent: str, following: str, now: datetime) -> bool:
        """Replace a refresh token. Returns False when it has been used, or its family has ended.

        A repetition within ``REUSE_WINDOW`` with the same successor, which is unused, changes nothing: returns True.
        """

    def family_of_token(self, refresh_token: str, now: datetime) -> tuple[Family, datetime | None] | None:
        """The family of a refresh token, and when that token was used."""

    def family(self, family: str, now: datetime) -> Family | None: ...

    def revoke(self, family: str, now: datetime) -> None: ...

    def forget(self, before: datetime) -> None:
        """Delete codes, token families and sessions that ended before then."""


class KeyRows(Protocol):
    """The stored public keys, within one transaction."""

    def all(self) -> list[SigningKey]:
        """Every key, in the order in which they sign, revoked ones too."""

    def add(self, key: SigningKey) -> None: ...

    def remove(self, kid: str) -> None: ...


class StoredKeys(Protocol):
    """Public halves and times of the signing keys."""

    def locked(self) -> AbstractContextManager[KeyRows]:
        """The keys in a transaction that only one process has at a time."""

    def all(self) -> list[SigningKey]:
        """Every key, in the order in which they sign, revoked ones too."""

    def jwks(self) -> dict[str, Any]:
        """The key set as the Identity API publishes it, without revoked keys."""

    def mark_lost(self, kid: str, at: datetime) -> None:
        """Record that a key's secret is missing: it verifies, but no longer signs."""

    def revoke(self, kid: str, at: datetime) -> bool:
        """Record that a key is compromised: it neither signs nor verifies. False when there is no such valid key."""
