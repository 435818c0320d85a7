"""The ports of second factors. Every method raises ``DatabaseUnavailable``."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from deeplens.identity.second_factors.model import Authenticator, Factors, Passkey, PendingSignIn


class SecondFactors(Protocol):
    """Authenticator apps, passkeys and recovery codes of users."""

    def of(self, user_id: str) -> Factors: ...

    def authenticator(self, user_id: str) -> Authenticator | None: ...

    def save_authenticator(self, authenticator: Authenticator) -> None:
        """Store a user's only authenticator; it replaces another."""

    def use_step(self, user_id: str, step: int) -> bool:
        """Use up the codes of all time steps up to ``step``. Returns False if it was used up before."""

    def passkeys(self, user_id: str) -> list[Passkey]:
        """By age."""

    def passkey(self, credential_id: bytes) -> Passkey | None: ...

    def add_passkey(self, passkey: Passkey) -> bool:
        """Returns False if this credential is registered already, whoever has it."""

    def rename_passkey(self, user_id: str, credential_id: bytes, name: str) -> bool:
        """Returns False when the user has no such passkey."""

    def use_passkey(self, credential_id: bytes, sign_count: int, now: datetime) -> bool:
        """Record a use. Returns False if the counter did not rise: the authenticator may have been copied."""

    def replace_recovery_codes(self, user_id: str, sha256s: Sequence[bytes]) -> None:
        """Store new recovery codes; the old ones end."""

    def use_recovery_code(self, user_id: str, sha256: bytes, now: datetime) -> bool:
        """Use up a recovery code. Returns False for an unknown or used one."""

    def remove_authenticator(self, user_id: str) -> bool:
        """Recovery codes end with the last factor. Returns False when there is none."""

    def remove_passkey(self, user_id: str, credential_id: bytes) -> bool:
        """The same for a passkey of this user."""

    def reset(self, user_id: str, now: datetime) -> bool:
        """Remove all factors and end all sessions and token families of a user. Returns False if there are none."""


class PendingSignIns(Protocol):
    """Sign-ins that are not complete, by the secret of a browser's cookie."""

    def begin(self, pending: PendingSignIn, now: datetime) -> str:
        """Store a sign-in and return its secret."""

    def find(self, secret: str, now: datetime) -> PendingSignIn | None: ...

    def set_challenge(self, secret: str, challenge: bytes) -> None:
        """Store what an authenticator or a new factor is to answer; it replaces an earlier challenge."""

    def challenge(self, secret: str, now: datetime) -> bytes | None:
        """The challenge, which remains."""

    def take_challenge(self, secret: str, now: datetime) -> bytes | None:
        """The challenge, once."""

    def end(self, secret: str) -> bool:
        """Remove a sign-in. Returns False if it has ended: of two simultaneous requests one completes it."""

    def forget(self, now: datetime) -> None:
        """Delete sign-ins whose time has passed."""


class SignInPolicies(Protocol):
    """What tenants require of a sign-in."""

    def requires_second_factor(self, tenant_id: str) -> bool: ...

    def require_second_factor(self, tenant_id: str, required: bool) -> None: ...
