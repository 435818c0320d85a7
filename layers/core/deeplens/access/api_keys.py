"""API keys: ``dl_<prefix>_<secret>``; 192 random bits, of which only the SHA-256 is kept.

A fast hash is right here: the secret is random, so guessing it means searching the whole key space.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass

FORMAT = re.compile(r"dl_([0-9a-f]{12})_([0-9a-f]{48})")


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key as its owner sees it once, and what is stored of it."""

    presented: str
    prefix: str
    secret_sha256: bytes


def new_key() -> NewKey:
    prefix, secret = secrets.token_hex(6), secrets.token_hex(24)
    return NewKey(f"dl_{prefix}_{secret}", prefix, digest(secret))


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def split_key(presented: str) -> tuple[str, str] | None:
    """Prefix and secret, or None when it cannot be a key."""
    match = FORMAT.fullmatch(presented)
    return (match[1], match[2]) if match else None
