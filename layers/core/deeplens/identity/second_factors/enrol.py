"""Add and remove the factors of a user."""

from typing import Literal

from deeplens.common.ports import Clock
from deeplens.identity.model import User
from deeplens.identity.recovery.notify import NotifyCredentialChange
from deeplens.identity.second_factors.codes import (
    new_recovery_codes,
    provisioning_uri,
    qr_code,
    recovery_digest,
    secret_of,
    step_of,
)
from deeplens.identity.second_factors.model import Authenticator
from deeplens.identity.second_factors.passkeys import Passkeys
from deeplens.identity.second_factors.ports import SecondFactors
from deeplens.identity.signing_keys import DerivationKey
from deeplens.telemetry.security import security_event


class Enrol:
    """Changes factors, and tells the user by mail; whether somebody may is decided before."""

    def __init__(
        self,
        factors: SecondFactors,
        passkeys: Passkeys,
        derivation_key: DerivationKey,
        notify: NotifyCredentialChange,
        clock: Clock,
    ) -> None:
        self._factors, self._passkeys, self._key = factors, passkeys, derivation_key
        self._notify, self._clock = notify, clock

    def secret_and_qr(self, user: User, enrolment: bytes) -> tuple[str, str]:
        """What an app needs, as text and as SVG."""
        secret = secret_of(self._key.derive, user.id, enrolment)
        return secret, qr_code(provisioning_uri(secret, user.email))

    def step_of_code(self, user: User, enrolment: bytes, code: str) -> int | None:
        """The time step of the code that a new app shows, or None if it is not right."""
        return step_of(secret_of(self._key.derive, user.id, enrolment), code, self._clock.now())

    def add_authenticator(self, user: User, enrolment: bytes, step: int, language: str) -> None:
        """Enable an app; it replaces another. The code that confirmed it, of this time step, does not sign in."""
        self._factors.save_authenticator(Authenticator(user.id, enrolment, step, self._clock.now()))
        self._record("second_factor_added", user, "authenticator")
        self._notify(user, "second-factor-added", language)

    def add_passkey(self, user: User, name: str, answer: str, challenge: bytes, language: str) -> bool:
        """Register a passkey. Returns False for an invalid answer, and for a passkey that is registered."""
        added = self._passkeys.register(user, name, answer, challenge)
        if added:
            self._record("second_factor_added", user, "passkey")
            self._notify(user, "passkey-added", language)
        return added

    def rename_passkey(self, user: User, passkey: str, name: str) -> bool:
        """Give the passkey with this id in hexadecimal digits another name. Returns False for no such passkey."""
        return self._factors.rename_passkey(user.id, _id_of(passkey), name)

    def new_codes(self, user: User, language: str) -> list[str]:
        """New recovery codes, which can be read this once; the old ones end."""
        codes = new_recovery_codes()
        self._factors.replace_recovery_codes(user.id, [recovery_digest(user.id, code) for code in codes])
        self._record("second_factor_added", user, "recovery codes")
        self._notify(user, "recovery-codes-replaced", language)
        return codes

    def remove(self, user: User, passkey: str | None, language: str) -> bool:
        """Remove the passkey with this id in hexadecimal digits, or the app."""
        if passkey is None:
            removed = self._factors.remove_authenticator(user.id)
        else:
            removed = self._factors.remove_passkey(user.id, _id_of(passkey))
        if removed:
            self._record("second_factor_removed", user, "authenticator" if passkey is None else "passkey")
            self._notify(user, "second-factor-removed" if passkey is None else "passkey-removed", language)
        return removed

    def _record(self, event: Literal["second_factor_added", "second_factor_removed"], user: User, method: str) -> None:
        security_event(event, user_id=user.id, tenant_id=user.tenant_id, method=method)


def _id_of(passkey: str) -> bytes:
    try:
        return bytes.fromhex(passkey)
    except ValueError:
        return b""
