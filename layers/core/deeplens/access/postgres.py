"""API keys and the audit log on the platform database."""

import hmac
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import psycopg

from deeplens.access.api_keys import digest, new_key, split_key
from deeplens.access.model import AuditEntry, Principal
from deeplens.access.schemas import AuditView, KeyView
from deeplens.access.scopes import READ, WRITE, checked_scopes
from deeplens.database.connections import Connections, PlatformAdapter
from deeplens.database.values import as_jsonb, as_text
from deeplens.errors import TenantNotFound

CACHE_SECONDS = 10.0
MAX_CACHED_KEYS = 1000
LIVE = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"
COLUMNS = "prefix, name, scopes, created_at, expires_at, last_used_at"
STALE = "last_used_at IS NULL OR last_used_at < now() - interval '1 minute'"

FIND_LIVE = f"""
SELECT tenant_id, secret_sha256, scopes, {STALE} AS stale FROM tenant_api_keys WHERE prefix = %s AND {LIVE}
"""  # noqa: S608
CREATE = """
INSERT INTO tenant_api_keys (prefix, tenant_id, name, secret_sha256, scopes, expires_at)
VALUES (%s, %s, %s, %s, %s, %s)
"""
TOUCH = f"UPDATE tenant_api_keys SET last_used_at = now() WHERE prefix = %s AND ({STALE})"  # noqa: S608
OF_TENANT = f"""
SELECT {COLUMNS} FROM tenant_api_keys WHERE tenant_id = %(tenant)s AND {LIVE} AND (%(after)s = '' OR
    (created_at, prefix) > (SELECT created_at, prefix FROM tenant_api_keys
                            WHERE prefix = %(after)s AND tenant_id = %(tenant)s))
ORDER BY created_at, prefix LIMIT %(limit)s
"""  # noqa: S608
FIND = f"SELECT {COLUMNS} FROM tenant_api_keys WHERE prefix = %s AND tenant_id = %s"  # noqa: S608
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
REVOKE = """
UPDATE tenant_api_keys SET revoked_at = now()
WHERE prefix = %s AND revoked_at IS NULL AND (%s::text IS NULL OR tenant_id = %s)
"""
FIND_ACTIVE_CLIENT = "SELECT 1 FROM nextgen_identity.clients WHERE id = %s AND status = 'active'"
APPEND_ENTRY = """
INSERT INTO audit_log
    (actor, client_id, actor_tenant_id, tenant_id, action, target, outcome, detail, request_id, network_address)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
APPEND_ENTRY_BEFORE_0016 = APPEND_ENTRY.replace(", network_address", "").replace(", %s)", ")")
PAGE_OF_ENTRIES = """
SELECT id, at, actor, client_id, tenant_id, action, target, outcome, detail, request_id,
    to_jsonb(audit_log) ->> 'network_address' AS network_address -- absent before revision 0016
FROM audit_log
WHERE (%s::text IS NULL OR tenant_id = %s) AND id < %s ORDER BY id DESC LIMIT %s
"""
PURGE = "SELECT purge_audit_log(%s, %s) AS purged"


class PostgresApiKeys(PlatformAdapter):
    """``ApiKeys`` on the platform database; a valid key is cached for ten seconds."""

    def __init__(self, connections: Connections, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__(connections)
        self._monotonic = monotonic
        self._cached: dict[bytes, tuple[float, Principal]] = {}

    def authenticate(self, presented: str) -> Principal | None:
        prefix_and_secret = split_key(presented)
        if prefix_and_secret is None:
            return None
        fingerprint = digest(presented)
        until, principal = self._cached.get(fingerprint, (0.0, None))
        if principal is None or until < self._monotonic():
            principal = self._read(*prefix_and_secret)
            self._cache(fingerprint, principal)
        return principal

    def create(
        self,
        tenant_id: str | None,
        name: str,
        scopes: Iterable[str] = (READ, WRITE),
        expires_at: datetime | None = None,
    ) -> str:
        key = new_key()
        values = [key.prefix, tenant_id, as_text(name), key.secret_sha256, checked_scopes(scopes), expires_at]
        try:
            self._execute(CREATE, values)
        except psycopg.errors.ForeignKeyViolation as error:
            raise TenantNotFound(f"no tenant {tenant_id}") from error
        return key.presented

    def of_tenant(self, tenant_id: str, after: str, limit: int) -> list[KeyView]:
        values = {"tenant": tenant_id, "after": as_text(after), "limit": limit}
        return [KeyView(**row) for row in self._rows(OF_TENANT, values)]

    def find(self, tenant_id: str, prefix: str) -> KeyView:
        row = self._row(FIND, [as_text(prefix), tenant_id])
        if row is None:
            raise KeyError(prefix)
        return KeyView(**row)

    def rotate(self, tenant_id: str, prefix: str, ends: datetime) -> str | None:
        key = new_key()
        values = [ends, as_text(prefix), tenant_id, as_text(prefix), key.prefix, key.secret_sha256]
        return key.presented if self._execute(ROTATE, values) == 1 else None

    def revoke(self, prefix: str, tenant_id: str | None = None) -> bool:
        return self._execute(REVOKE, [as_text(prefix), tenant_id, tenant_id]) == 1

    def _read(self, prefix: str, secret: str) -> Principal | None:
        row = self._row(FIND_LIVE, [prefix])
        if row is None or not hmac.compare_digest(row["secret_sha256"], digest(secret)):
            return None
        if row["stale"]:
            self._execute(TOUCH, [prefix])
        return Principal(row["tenant_id"], f"key:{prefix}", frozenset(row["scopes"]))

    def _cache(self, fingerprint: bytes, principal: Principal | None) -> None:
        if principal is None:
            self._cached.pop(fingerprint, None)
            return
        if len(self._cached) > MAX_CACHED_KEYS:
            self._cached.clear()
        self._cached[fingerprint] = (self._monotonic() + CACHE_SECONDS, principal)


class PostgresActiveClients(PlatformAdapter):
    """``ActiveClients`` on the table ``clients``."""

    def is_active(self, client_id: str) -> bool:
        return self._row(FIND_ACTIVE_CLIENT, [as_text(client_id)]) is not None


class PostgresAudit(PlatformAdapter):
    """``AuditLog`` on a table where triggers reject updates, and deletions before the retention."""

    def append(self, entry: AuditEntry, outcome: str) -> None:
        actor = entry.principal
        detail = None if entry.detail is None or outcome != "begun" else as_jsonb(entry.detail)
        values = [
            *(actor.subject, actor.client_id, actor.tenant_id, entry.tenant_id),
            *(entry.action, as_text(entry.target), outcome, detail, entry.request_id),
        ]
        try:
            self._execute(APPEND_ENTRY, [*values, entry.network_address])
        except psycopg.errors.UndefinedColumn:
            self._execute(APPEND_ENTRY_BEFORE_0016, values)

    def purge(self, kept: timedelta, limit: int) -> int:
        try:
            return int(self._rows(PURGE, [kept, limit])[0]["purged"])
        except psycopg.errors.UndefinedFunction:  # before revision 0022
            return 0

    def page(self, tenant_id: str | None, before: int, limit: int) -> list[AuditView]:
        return [AuditView(**row) for row in self._rows(PAGE_OF_ENTRIES, [tenant_id, tenant_id, before, limit])]
