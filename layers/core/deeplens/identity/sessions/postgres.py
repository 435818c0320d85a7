"""Sessions and applications, on the tables of users, clients and grants."""

from datetime import datetime
from typing import Any

import psycopg

from deeplens.access.api_keys import digest
from deeplens.database.connections import Connections, PlatformAdapter
from deeplens.database.rows import record_of
from deeplens.database.values import as_text
from deeplens.identity.sessions.model import MAX_USER_AGENT_CHARS, Application, OpenSession, SessionLimits, Visit
from deeplens.identity.sign_out import Rows, sign_out
from deeplens.telemetry.security import SecurityEvent, security_event

EXISTS = "SELECT 1 FROM nextgen_identity.users WHERE id = %(user)s AND tenant_id IS NOT DISTINCT FROM %(owner)s"
RECORD = """
UPDATE nextgen_identity.sessions SET last_seen_at = %s, user_agent = %s, network_address = %s WHERE secret_sha256 = %s
"""
# The columns of a visit are read through JSON: a database may not have them yet.
SESSIONS = """
SELECT s.id, s.authenticated_at, coalesce(to_jsonb(s) -> 'methods', '["pwd"]') AS methods,
    coalesce((to_jsonb(s) ->> 'last_seen_at')::timestamptz, %(now)s) AS last_seen_at,
    coalesce(to_jsonb(s) ->> 'user_agent', '') AS user_agent,
    coalesce(to_jsonb(s) ->> 'network_address', '') AS network_address
FROM nextgen_identity.sessions s WHERE s.user_id = %(user)s AND s.expires_at > %(now)s
ORDER BY s.authenticated_at DESC, s.id
"""
OF_SESSION, OF_CLIENT = "session_id = %(session)s", "client_id = %(client)s"
END_SESSION = """
DELETE FROM nextgen_identity.sessions WHERE user_id = %(user)s AND id = %(session)s RETURNING id AS session_id, user_id
"""
END_CONSENT = """
DELETE FROM nextgen_identity.consents WHERE user_id = %(user)s AND client_id = %(client)s RETURNING user_id, client_id
"""
# Before the families: a code that is redeemed meanwhile has become a family when this statement ends.
END_CODES = """
DELETE FROM nextgen_identity.authorization_codes WHERE user_id = %(user)s AND used_at IS NULL AND {condition}
"""
END_FAMILIES = """
UPDATE nextgen_identity.token_families SET revoked_at = %(now)s
WHERE user_id = %(user)s AND revoked_at IS NULL AND {condition} RETURNING id AS family, user_id, client_id
"""
APPLICATIONS = """
WITH families AS (
    SELECT f.client_id, min(f.authenticated_at) AS since, array_agg(DISTINCT scope) AS scopes
    FROM nextgen_identity.token_families f, unnest(f.scopes) scope
    WHERE f.user_id = %(user)s AND f.revoked_at IS NULL AND f.expires_at > %(now)s GROUP BY f.client_id
)
SELECT c.id AS client_id, c.name, coalesce(k.scopes, f.scopes) AS scopes,
    coalesce(k.granted_at, f.since) AS since, f.client_id IS NOT NULL AS connected
FROM nextgen_identity.clients c
LEFT JOIN nextgen_identity.consents k ON k.client_id = c.id AND k.user_id = %(user)s
LEFT JOIN families f ON f.client_id = c.id
WHERE k.client_id IS NOT NULL OR f.client_id IS NOT NULL
ORDER BY c.name, c.id
"""


class PostgresSessions(PlatformAdapter):
    """``Sessions`` on the tables ``sessions``, ``consents``, ``authorization_codes`` and ``token_families``."""

    def __init__(self, connections: Connections, limits: SessionLimits) -> None:
        super().__init__(connections)
        self._limits = limits

    def record(self, secret: str, visit: Visit, now: datetime) -> None:
        values = [now, as_text(visit.user_agent[:MAX_USER_AGENT_CHARS]), as_text(visit.network_address), digest(secret)]
        try:
            self._execute(RECORD, values)
        except psycopg.errors.UndefinedColumn:
            # Before the migration a session has its absolute limit only.
            return

    def of_user(self, owner: str | None, user_id: str, now: datetime) -> list[OpenSession] | None:
        rows = self._of_owner(SESSIONS, {"owner": owner, "user": as_text(user_id), "now": now})
        if rows is None:
            return None
        sessions = [record_of(OpenSession, row) for row in rows]
        return [found for found in sessions if not self._limits.ended(found.authenticated_at, found.last_seen_at, now)]

    def end(self, owner: str | None, user_id: str, session_id: str, now: datetime) -> bool:
        values = {"owner": owner, "user": as_text(user_id), "session": as_text(session_id), "now": now}
        return self._end("session_ended", END_SESSION, OF_SESSION, values)

    def end_all(self, owner: str | None, user_id: str, now: datetime, keep: str | None = None) -> bool:
        values = {"owner": owner, "user": as_text(user_id)}
        with self._platform() as connection, connection.transaction():
            if connection.execute(EXISTS, values).fetchone() is None:
                return False
            ended = sign_out(connection, as_text(user_id), now, keep)
        _record("session_ended", ended.sessions, ended.families)
        return True

    def applications(self, owner: str | None, user_id: str, now: datetime) -> list[Application] | None:
        rows = self._of_owner(APPLICATIONS, {"owner": owner, "user": as_text(user_id), "now": now})
        return None if rows is None else [record_of(Application, row) for row in rows]

    def withdraw(self, owner: str | None, user_id: str, client_id: str, now: datetime) -> bool:
        values = {"owner": owner, "user": as_text(user_id), "client": as_text(client_id), "now": now}
        return self._end("consent_withdrawn", END_CONSENT, OF_CLIENT, values)

    def _of_owner(self, statement: str, values: dict[str, Any]) -> list[dict[str, Any]] | None:
        with self._platform() as connection:
            if connection.execute(EXISTS, values).fetchone() is None:
                return None
            return connection.execute(statement.encode(), values).fetchall()

    def _end(self, event: SecurityEvent, statement: str, condition: str, values: dict[str, Any]) -> bool:
        """Whether anything was ended: rows of ``statement``, or token families."""
        with self._platform() as connection, connection.transaction():
            if connection.execute(EXISTS, values).fetchone() is None:
                return False
            ended = connection.execute(statement.encode(), values).fetchall()
            connection.execute(END_CODES.format(condition=condition).encode(), values)
            families = connection.execute(END_FAMILIES.format(condition=condition).encode(), values).fetchall()
        _record(event, ended, families)
        return bool(ended or families)


def _record(event: SecurityEvent, ended: Rows, families: Rows) -> None:
    for row in ended:
        security_event(event, **row)
    for row in families:
        security_event("token_family_revoked", **row)
