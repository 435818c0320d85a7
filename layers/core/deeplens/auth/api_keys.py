"""API keys: ``dl_<prefix>_<secret>``; 192 random bits, of which only the SHA-256 is kept.

A fast hash is right here: the secret is random, so there is nothing to guess faster than the key space.
"""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

import psycopg

from deeplens.auth.scopes import READ, WRITE, checked_scopes
from deeplens.db.connections import Connections
from deeplens.db.values import as_text
from deeplens.domain import Principal
from deeplens.errors import TenantNotFound

CACHE_SECONDS = 10.0
FORMAT = re.compile(r"dl_([0-9a-f]{12})_([0-9a-f]{48})")

FIND = """
SELECT tenant_id, secret_sha256, scopes, coalesce(last_used_at < now() - interval '1 minute', true) AS untouched
FROM tenant_api_keys
WHERE prefix = %s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
"""
CREATE = """
INSERT INTO tenant_api_keys (prefix, tenant_id, name, secret_sha256, scopes, expires_at)
VALUES (%s, %s, %s, %s, %s, %s)
"""
TOUCH = """
UPDATE tenant_api_keys SET last_used_at = now()
WHERE prefix = %s AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
"""


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


class PostgresApiKeys:
    """``ApiKeys`` on the platform database; a key that was good stays so for ten seconds."""

    def __init__(self, connections: Connections, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._connections, self._monotonic = connections, monotonic
        self._known: dict[bytes, tuple[float, Principal]] = {}

    def authenticate(self, presented: str) -> Principal | None:
        parts = split_key(presented)
        if parts is None:
            return None
        fingerprint = digest(presented)
        until, principal = self._known.get(fingerprint, (0.0, None))
        if principal is None or until < self._monotonic():
            principal = self._read(*parts)
            self._remember(fingerprint, principal)
        return principal

    def create(
        self,
        tenant_id: str | None,
        name: str,
        scopes: Iterable[str] = (READ, WRITE),
        expires_at: datetime | None = None,
    ) -> str:
        """Store a new key, an operator's without a tenant, and return it; it cannot be shown again.

        Raises
        ------
        ValueError
            A scope is unknown.
        TenantNotFound
        """
        key, chosen = new_key(), checked_scopes(scopes)
        values = [key.prefix, tenant_id, as_text(name), key.secret_sha256, chosen, expires_at]
        try:
            with self._connections.platform() as connection:
                connection.execute(CREATE, values)
        except psycopg.errors.ForeignKeyViolation as error:
            raise TenantNotFound(f"no tenant {tenant_id}") from error
        return key.presented

    def revoke(self, prefix: str) -> bool:
        """False when there is no such live key. Takes effect everywhere within ten seconds."""
        with self._connections.platform() as connection:
            statement = "UPDATE tenant_api_keys SET revoked_at = now() WHERE prefix = %s AND revoked_at IS NULL"
            return connection.execute(statement, [prefix]).rowcount == 1

    def _read(self, prefix: str, secret: str) -> Principal | None:
        with self._connections.platform() as connection:
            row = connection.execute(FIND, [prefix]).fetchone()
            if row is None or not hmac.compare_digest(bytes(row["secret_sha256"]), digest(secret)):
                return None
            if row["untouched"]:
                connection.execute(TOUCH, [prefix])
        return Principal(row["tenant_id"], f"key:{prefix}", frozenset(row["scopes"]))

    def _remember(self, fingerprint: bytes, principal: Principal | None) -> None:
        if principal is None:
            self._known.pop(fingerprint, None)
            return
        if len(self._known) > 1000:
            self._known.clear()
        self._known[fingerprint] = (self._monotonic() + CACHE_SECONDS, principal)
