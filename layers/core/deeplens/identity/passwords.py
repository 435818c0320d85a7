"""Which passwords are accepted, and their Argon2id hashes."""

from functools import cache
from threading import Lock

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from deeplens.errors import ApiError

MIN_LENGTH, MAX_LENGTH = 12, 128
MAX_COMPARED_LENGTH = 256
"""Longer passwords than are accepted today may have been set before."""
MIN_GUESSES = 10**8
"""Of an attacker who tries common passwords and words first, and dates, keyboard rows and repetitions of them."""
MAX_ESTIMATED_LENGTH = 72
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
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise WeakPassword(
            f"The password has {len(password)} characters, and {MIN_LENGTH} to {MAX_LENGTH} are accepted. "
            "Several words that do not belong together are easy to remember."
        )
    from zxcvbn import zxcvbn  # a list of 90,000 words, which signing in does not need

    with _estimating:
        estimate = zxcvbn(password[:MAX_ESTIMATED_LENGTH])
    if estimate["guesses"] < MIN_GUESSES:
        reason = estimate["feedback"]["warning"] or "Common passwords and words are among the first guesses."
        raise WeakPassword(f"The password is easy to guess. {reason} Take several words that do not belong together.")
    return password


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
