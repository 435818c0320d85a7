"""New ids: sortable by time, or derived from what the client calls the upload."""

import hashlib
from base64 import b32encode
from datetime import datetime
from secrets import randbits

CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 26


def new_id(prefix: str, at: datetime) -> str:
    """The prefix and a lower-case ULID: 48 bits of milliseconds, 80 of chance."""
    number = int(at.timestamp() * 1000) << 80 | randbits(80)
    return f"{prefix}_" + "".join(CROCKFORD[number >> shift & 31] for shift in range(5 * (LENGTH - 1), -1, -5))


def new_image_id(at: datetime) -> str:
    return new_id("img", at)


def keyed_image_id(tenant_id: str, idempotency_key: str) -> str:
    return keyed_id("img", tenant_id, idempotency_key)


def keyed_id(prefix: str, tenant_id: str, idempotency_key: str) -> str:
    """The same id for the same key of the same tenant, so that a repeat resumes without any look-up."""
    digest = hashlib.sha256(f"{tenant_id}\0{idempotency_key}".encode()).digest()
    return f"{prefix}_" + b32encode(digest).decode().lower()[:LENGTH]
