"""New ids: sortable by time, or derived from an idempotency key; ids of events that count once."""

import hashlib
from base64 import b32encode
from datetime import UTC, datetime, timedelta
from secrets import randbits
from uuid import NAMESPACE_URL, uuid5

CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 26
EPOCH, MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)


def new_id(prefix: str, at: datetime) -> str:
    """The prefix and a lower-case ULID: 48 bits of milliseconds, 80 random bits."""
    # Integers, because a float may round a later millisecond to the one before.
    number = (at - EPOCH) // MILLISECOND << 80 | randbits(80)
    return f"{prefix}_" + "".join(CROCKFORD[number >> shift & 31] for shift in range(5 * (LENGTH - 1), -1, -5))


def keyed_id(prefix: str, tenant_id: str, idempotency_key: str) -> str:
    """The same id for the same key of the same tenant, so that a repeated request needs no look-up."""
    return f"{prefix}_{_derived(tenant_id, idempotency_key)}"


def keyed_upload_id(tenant_id: str, idempotency_key: str) -> str:
    """The id of a direct upload; ``POST /v1/images`` with the same key gives another id."""
    return "upl_" + _derived("upload", tenant_id, idempotency_key)


def _derived(*parts: str) -> str:
    return b32encode(hashlib.sha256("\0".join(parts).encode()).digest()).decode().lower()[:LENGTH]


def event_id(*what: object) -> str:
    """The same id, whichever record the event follows from: an image that is sent twice counts once."""
    return str(uuid5(NAMESPACE_URL, "/".join(map(str, what))))
