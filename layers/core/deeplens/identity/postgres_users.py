"""Users, their passwords and their browsers' sessions."""

import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import psycopg

from deeplens.access.api_keys import digest
from deeplens.access.scopes import checked_roles
from deeplens.database.connections import PlatformAdapter
from deeplens.database.values import as_text
from deeplens.errors import TenantNotFound
from deeplens.identity import passwords
from deeplens.identity.model import SESSION_LIFE, Session, User

COLUMNS = "id, tenant_id, email, name, roles"
FIND = f"SELECT {COLUMNS} FROM nextgen_identity.users WHERE id = %s AND status = 'active'"  # noqa: S608
# The attempt is counted, and the account locked, before the password is verified: simultaneous guesses get no more
# tries than guesses made one after the other.
ATTEMPT = f"""
UPDATE nextgen_identity.users SET failed_sign_ins = failed_sign_ins + 1,
    locked_until = %s + (%s::interval[])[least(failed_sign_ins + 1, %s)]
WHERE email = %s AND status = 'active' AND (locked_until IS NULL OR locked_until <= %s)
RETURNING {COLUMNS}, password_hash
"""  # noqa: S608
LOCKS = [passwords.lock_after(failures) or None for failures in range(1, 21)]
"""Waiting times after the first, second … wrong password; None means no wait."""
RESET_ATTEMPTS = """
UPDATE nextgen_identity.users SET failed_sign_ins = 0, locked_until = NULL, password_hash = coalesce(%s, password_hash)
WHERE id = %s
"""
SAVE = f"""
INSERT INTO nextgen_identity.users ({COLUMNS}, password_hash) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (id) DO UPDATE SET tenant_id = excluded.tenant_id, email = excluded.email, name = excluded.name,
    roles = excluded.roles, password_hash = excluded.password_hash, failed_sign_ins = 0, locked_until = NULL
"""  # noqa: S608
OPEN_SESSION = """
INSERT INTO nextgen_identity.sessions (secret_sha256, id, user_id, authenticated_at, expires_at)
VALUES (%s, %s, %s, %s, %s)
"""
SESSION = """
SELECT s.id AS session_id, s.authenticated_at, u.id, u.tenant_id, u.email, u.name, u.roles
FROM nextgen_identity.sessions s JOIN nextgen_identity.users u ON u.id = s.user_id
WHERE s.secret_sha256 = %s AND s.expires_at > %s AND u.status = 'active'
"""


class PostgresUsers(PlatformAdapter):
    """``Users`` on the tables ``users`` and ``sessions``."""

    def find(self, user_id: str) -> User | None:
        row = self._row(FIND, [user_id])
        return _user(row) if row else None

    def save(self, user: User, password: str) -> None:
        values = [user.id, user.tenant_id, user.email.lower(), as_text(user.name), checked_roles(user.roles)]
        try:
            with self._connections.platform() as connection:
                connection.execute(SAVE, [*values, passwords.hashed(password)])
        except psycopg.errors.ForeignKeyViolation as error:
            raise TenantNotFound(f"no tenant {user.tenant_id}") from error

    def sign_in(self, email: str, password: str, now: datetime) -> User | None:
        values = [now, LOCKS, len(LOCKS), as_text(email.strip().lower()), now]
        row = self._row(ATTEMPT, values)
        if not passwords.matches(row["password_hash"] if row else None, password) or row is None:
            return None
        renewed = passwords.hashed(password) if passwords.outdated(row["password_hash"]) else None
        self._execute(RESET_ATTEMPTS, [renewed, row["id"]])
        return _user(row)

    def open_session(self, user: User, now: datetime) -> str:
        secret = secrets.token_urlsafe(32)
        self._execute(OPEN_SESSION, [digest(secret), secrets.token_urlsafe(12), user.id, now, now + SESSION_LIFE])
        return secret

    def session(self, secret: str, now: datetime) -> Session | None:
        row = self._row(SESSION, [digest(secret), now])
        return Session(row["session_id"], _user(row), row["authenticated_at"]) if row else None

    def close_session(self, secret: str) -> None:
        self._execute("DELETE FROM nextgen_identity.sessions WHERE secret_sha256 = %s", [digest(secret)])

    def exist(self, emails: Iterable[str]) -> bool:
        with self._connections.platform() as connection:
            statement = "SELECT 1 FROM nextgen_identity.users WHERE email = ANY(%s) LIMIT 1"
            return connection.execute(statement, [list(emails)]).fetchone() is not None


def _user(row: dict[str, Any]) -> User:
    return User(row["id"], row["tenant_id"], row["email"], row["name"], tuple(row["roles"]))
