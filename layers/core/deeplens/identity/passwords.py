"""Argon2id hashes of passwords."""

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MIN_LENGTH, MAX_LENGTH = 8, 256
# RFC 9106's second choice: 64 MiB, three passes, four lanes.
_hasher = PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=4)


@cache
def _nobody() -> str:
    """A hash of no account, so that an unknown name takes as long as a wrong password."""
    return _hasher.hash("nobody has this password")


def hashed(password: str) -> str:
    """The Argon2id string to store. Raises ``ValueError`` for a password that is too short or too long."""
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise ValueError(f"a password has {MIN_LENGTH} to {MAX_LENGTH} characters")
    return _hasher.hash(password)


def matches(stored: str | None, password: str) -> bool:
    """Whether the password matches the stored hash. Takes as long when there is no account (None)."""
    try:
        return _hasher.verify(stored or _nobody(), password[: MAX_LENGTH + 1]) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


def outdated(stored: str) -> bool:
    """Whether it was hashed with weaker parameters than today's."""
    return _hasher.check_needs_rehash(stored)
