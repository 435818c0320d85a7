"""When keys sign, and when they are deleted: pure decisions.

A key is in the key set before it signs, so that caches know it, and until every token that it signed has expired.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

PERIOD = timedelta(days=30)
"""How long a key signs."""
LEAD = timedelta(hours=2)
"""How long it is published before it signs."""
LONGEST_TOKEN = timedelta(hours=1)
MARGIN = timedelta(minutes=5)
"""Clocks differ, and functions cache the keys for ten seconds."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key's public half and its times.

    Attributes
    ----------
    lost : its private half is missing; it verifies tokens and no longer signs.
    revoked : it is compromised; it neither signs nor verifies, and waits for the deletion of its private half.
    """

    kid: str
    public_jwk: dict[str, Any]
    created_at: datetime
    signs_from: datetime
    lost: bool = False
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class Rotation:
    """What is due: a new key that signs from ``create`` on, and keys to delete."""

    create: datetime | None = None
    forget: tuple[str, ...] = ()


def signer(keys: Sequence[SigningKey], now: datetime) -> SigningKey | None:
    """The newest key that may sign; None when a new one is needed at once."""
    ready = [key for key in keys if key.signs_from <= now and not key.lost and not key.revoked]
    return max(ready, key=lambda key: key.signs_from, default=None)


def plan_rotation(keys: Sequence[SigningKey], now: datetime) -> Rotation:
    """Plan the next key, and the deletion of keys that are revoked, or whose tokens have all expired."""
    valid = [key for key in keys if not key.revoked]
    return Rotation(_next_start(valid, now), tuple(key.kid for key in keys if key.revoked or _is_over(key, valid, now)))


def _next_start(keys: Sequence[SigningKey], now: datetime) -> datetime | None:
    if signer(keys, now) is None:
        return now
    newest = max(key.signs_from for key in keys if not key.lost)
    due = newest + PERIOD
    return max(due, now + LEAD) if now >= due - LEAD else None


def _is_over(key: SigningKey, keys: Sequence[SigningKey], now: datetime) -> bool:
    """Whether a successor has been signing for longer than the lifetime of any token."""
    successors = [other.signs_from for other in keys if not other.lost and other.signs_from > key.signs_from]
    return bool(successors) and min(successors) + LONGEST_TOKEN + MARGIN <= now
