"""Which passwords are accepted, and their Argon2id hashes."""

from functools import cache
from threading import Lock
from typing import Any, Literal

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from deeplens.errors import ApiError

MIN_LENGTH, MAX_LENGTH = 12, 128
MAX_COMPARED_LENGTH = 256
"""Longer passwords than are accepted today may have been set before."""
MIN_GUESSES = 10**8
"""Of an attacker who tries common passwords and words first, and dates, keyboard rows and repetitions of them."""
STRONG_GUESSES = 10**12
MAX_ESTIMATED_LENGTH = 72
type Strength = Literal["short", "long", "weak", "fair", "strong"]
_estimating = Lock()  # zxcvbn changes a dictionary of its module.
# RFC 9106's second choice: 64 MiB, three passes, four lanes.
_hasher = PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=4)


@cache
def _nobody() -> str:
    """A hash of no account, so that an unknown name takes as long as a wrong password."""
    return _hasher.hash("nobody has this password")


class WeakPassword(ApiError):
    """A password that is too short, too long or easy to guess."""

    def __init__(self, detail: str) -> None:
        super().__init__(422, "weak-password", "Password not accepted", detail)


def accepted(password: str) -> str:
    """The same password, for an account that has none or another. Raises ``WeakPassword``.

    zxcvbn, which has lists of common passwords, names and words, estimates how many guesses it takes.
    """
    if _length_fault(password):
        raise WeakPassword(
            f"The password has {len(password)} characters, and {MIN_LENGTH} to {MAX_LENGTH} are accepted. "
            "Several words that do not belong together are easy to remember."
        )
    estimate = _estimate(password)
    if estimate["guesses"] < MIN_GUESSES:
        reason = estimate["feedback"]["warning"] or "Common passwords and words are among the first guesses."
        raise WeakPassword(f"The password is easy to guess. {reason} Take several words that do not belong together.")
    return password


def strength_of(password: str) -> Strength:
    """How hard the password is to guess; ``accepted`` takes those that are fair or strong."""
    if fault := _length_fault(password):
        return fault
    guesses = _estimate(password)["guesses"]
    return "weak" if guesses < MIN_GUESSES else "strong" if guesses >= STRONG_GUESSES else "fair"


def _length_fault(password: str) -> Literal["short", "long"] | None:
    return "short" if len(password) < MIN_LENGTH else "long" if len(password) > MAX_LENGTH else None


def _estimate(password: str) -> dict[str, Any]:
    from zxcvbn import zxcvbn  # a list of 90,000 words, which signing in does not need

    with _estimating:
        return dict(zxcvbn(password[:MAX_ESTIMATED_LENGTH]))


def hashed(password: str) -> str:
    """The Argon2id string to store."""
    return _hasher.hash(password)


def matches(stored: str | None, password: str) -> bool:
    """Whether the password matches the stored hash. Takes as long when there is no account (None)."""
    try:
        return _hasher.verify(stored or _nobody(), password[: MAX_COMPARED_LENGTH + 1]) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


def outdated(stored: str) -> bool:
    """Whether it was hashed with weaker parameters than today's."""
    return _hasher.check_needs_rehash(stored)
