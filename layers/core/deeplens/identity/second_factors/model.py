"""Second factors of a user, sign-ins that miss one, and which factor follows."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from deeplens.identity.model import MULTI_FACTOR

PENDING_LIFE = timedelta(minutes=10)
"""How long somebody may take for the second factor, or to set one up."""
OTP = ("otp", MULTI_FACTOR)
PASSKEY = ("hwk", MULTI_FACTOR)
PASSKEY_ALONE = ("hwk", "user", MULTI_FACTOR)
"""Methods (RFC 8176) that a factor adds; a passkey alone has verified its user by itself."""

type NextStep = Literal["verify", "enrol"]


@dataclass(frozen=True, slots=True)
class Factors:
    """What a user can prove beside the password, and whether the tenant requires it."""

    authenticator: bool = False
    passkeys: int = 0
    recovery_codes: int = 0
    tenant_requires: bool = False

    @property
    def any(self) -> bool:
        return self.authenticator or self.passkeys > 0

    @property
    def count(self) -> int:
        return self.authenticator + self.passkeys


@dataclass(frozen=True, slots=True)
class Authenticator:
    """An authenticator app (RFC 6238); its secret derives from ``enrolment`` and is stored nowhere.

    Attributes
    ----------
    last_step : the time step of the last code that was used; neither it nor an earlier one works again.
    """

    user_id: str
    enrolment: bytes
    last_step: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Passkey:
    """A WebAuthn credential of a user."""

    id: bytes
    user_id: str
    name: str
    public_key: bytes
    sign_count: int
    transports: tuple[str, ...]
    created_at: datetime
    last_used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PendingSignIn:
    """A sign-in that is not complete: it gives no access. Its secret is a cookie, stored as a hash only.

    Attributes
    ----------
    user_id : who gave the password; None before a passkey says who it is.
    methods : how the user signed in so far.
    goal : the path to continue at.
    """

    user_id: str | None
    methods: tuple[str, ...]
    goal: str


def next_step(factors: Factors, methods: tuple[str, ...], required: bool) -> NextStep | None:
    """What a sign-in by these methods needs before it is complete; None if nothing.

    Parameters
    ----------
    required : the user has to have a second factor.
    """
    if MULTI_FACTOR in methods:
        return None
    if factors.any:
        return "verify"
    return "enrol" if required else None


def may_enrol(factors: Factors, methods: tuple[str, ...]) -> bool:
    """Whether a sign-in by these methods may add a factor: whoever has one proves it first."""
    return MULTI_FACTOR in methods or not factors.any
