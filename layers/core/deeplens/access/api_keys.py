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

from deeplens.access.principal import Principal
from deeplens.access.scopes import READ, WRITE, checked_scopes
from deeplens.database.connections import Connections
from deeplens.database.values import as_text
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


LIVE = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"
COLUMNS = "prefix, name, scopes, created_at, expires_at, last_used_at"
OF_TENANT = f"""
SELECT {COLUMNS} FROM tenant_api_keys
WHERE tenant_id = %s AND {LIVE} ORDER BY created_at, prefix
"""  # noqa: S608
ROTATE = f"""
WITH old AS (
    UPDATE tenant_api_keys SET expires_at = least(expires_at, %s) WHERE prefix = %s AND tenant_id = %s AND {LIVE}
    RETURNING *
), before AS (
    SELECT expires_at FROM tenant_api_keys WHERE prefix = %s
)
INSERT INTO tenant_api_keys (prefix, tenant_id, name, secret_sha256, scopes, expires_at)
SELECT %s, tenant_id, name, %s, scopes, (SELECT expires_at FROM before) FROM old
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A live key without its secret."""

    prefix: str
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


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

    def of_tenant(self, tenant_id: str) -> list[KeyRecord]:
        """Live keys, the oldest first."""
        with self._connections.platform() as connection:
            return [KeyRecord(**row) for row in connection.execute(OF_TENANT, [tenant_id]).fetchall()]

    def find(self, tenant_id: str, presented: str) -> KeyRecord:
        """The row of a key that was just made. Raises ``KeyError`` when the tenant has no such key."""
        statement = f"SELECT {COLUMNS} FROM tenant_api_keys WHERE prefix = %s AND tenant_id = %s"  # noqa: S608
        prefix, _ = split_key(presented) or ("", "")
        with self._connections.platform() as connection:
            row = connection.execute(statement.encode(), [prefix, tenant_id]).fetchone()
        if row is None:
            raise KeyError(prefix)
        return KeyRecord(**row)

    def rotate(self, tenant_id: str, prefix: str, ends: datetime) -> str | None:
        """A new key like the old one, which ends then; None when the tenant has no such live key."""
        key = new_key()
        values = [ends, as_text(prefix), tenant_id, as_text(prefix), key.prefix, key.secret_sha256]
        with self._connections.platform() as connection:
            return key.presented if connection.execute(ROTATE, values).rowcount == 1 else None

    def revoke(self, prefix: str, tenant_id: str | None = None) -> bool:
        """Revoke a key, of that tenant if one is given. False when there is no such live key.

        Takes effect everywhere within ten seconds.
        """
        statement = (
            "UPDATE tenant_api_keys SET revoked_at = now() "
            "WHERE prefix = %s AND revoked_at IS NULL AND (%s::text IS NULL OR tenant_id = %s)"
        )
        with self._connections.platform() as connection:
            return connection.execute(statement, [as_text(prefix), tenant_id, tenant_id]).rowcount == 1

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
