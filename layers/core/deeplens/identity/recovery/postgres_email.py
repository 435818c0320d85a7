"""Addresses that wait to be confirmed, and former ones that can come back."""

import secrets
from datetime import datetime
from typing import Any

import psycopg

from deeplens.database.connections import Connection, PlatformAdapter
from deeplens.database.rows import columns_of, parameters_of, record_of
from deeplens.identity import passwords
from deeplens.identity.model import User
from deeplens.identity.recovery.model import FORMER_EMAIL_LIFE, EmailChange, QueuedMail
from deeplens.identity.recovery.postgres import ADD
from deeplens.identity.sign_out import sign_out

REQUEST = """
INSERT INTO nextgen_identity.email_changes (user_id, email, expires_at)
SELECT id, %(email)s, %(expires_at)s FROM nextgen_identity.users WHERE id = %(user)s AND status = 'active'
ON CONFLICT (user_id) DO UPDATE SET email = excluded.email, token_sha256 = NULL, expires_at = excluded.expires_at
"""
ISSUE = """
UPDATE nextgen_identity.email_changes c SET token_sha256 = %s, expires_at = %s
WHERE user_id = %s AND email = %s AND expires_at > %s
    AND NOT EXISTS (SELECT 1 FROM nextgen_identity.users u WHERE u.email = c.email)
"""
ISSUE_FORMER = """
UPDATE nextgen_identity.former_emails SET token_sha256 = %s WHERE user_id = %s AND email = %s AND expires_at > %s
RETURNING expires_at
"""
FIND = f"""
SELECT c.email AS other_email, {columns_of(User, "u.")}
FROM nextgen_identity.{{table}} c JOIN nextgen_identity.users u ON u.id = c.user_id
WHERE c.token_sha256 = %s AND c.expires_at > %s AND u.status = 'active'
"""  # noqa: S608
LOCK = f"SELECT {columns_of(User)} FROM nextgen_identity.users WHERE id = %s AND status = 'active' FOR UPDATE"  # noqa: S608
USE_UP = "DELETE FROM nextgen_identity.{table} WHERE token_sha256 = %s AND expires_at > %s RETURNING *"
KEEP_FORMER = """
INSERT INTO nextgen_identity.former_emails (user_id, email, changed_at, expires_at) VALUES (%s, %s, %s, %s)
ON CONFLICT (user_id, email) DO UPDATE SET token_sha256 = NULL, expires_at = excluded.expires_at
"""
"""Of two changes away from an address the first one counts: what was added since it is removed with it."""
RESTORE = (
    # What whoever changed the address may have added, and where they may have moved it since.
    "DELETE FROM nextgen_identity.passkeys WHERE user_id = %(user)s AND created_at >= %(since)s",
    "DELETE FROM nextgen_identity.authenticators WHERE user_id = %(user)s AND created_at >= %(since)s",
    "DELETE FROM nextgen_identity.former_emails WHERE user_id = %(user)s AND changed_at >= %(since)s",
    "UPDATE nextgen_identity.users SET email = %(email)s, password_hash = %(hash)s WHERE id = %(user)s",
)


class PostgresEmailChanges(PlatformAdapter):
    """``EmailChanges`` on the tables ``email_changes`` and ``former_emails``."""

    def request(self, user: User, mail: QueuedMail) -> None:
        values = parameters_of(mail)
        with self._platform() as connection, connection.transaction():
            change = {"user": user.id, "email": values["recipient"], "expires_at": mail.expires_at}
            connection.execute(REQUEST, change)
            connection.execute(ADD.encode(), values)

    def issue(self, user_id: str, email: str, token_sha256: bytes, now: datetime, expires_at: datetime) -> bool:
        return self._execute(ISSUE, [token_sha256, expires_at, user_id, email, now]) == 1

    def find(self, token_sha256: bytes, now: datetime) -> EmailChange | None:
        return self._find("email_changes", token_sha256, now)

    def confirm(self, token_sha256: bytes, notice: QueuedMail, now: datetime) -> EmailChange | None:
        with self._platform() as connection:
            try:
                with connection.transaction():
                    used = _use_up(connection, "email_changes", token_sha256, now)
                    if used is None:
                        return None
                    change, _ = used
                    user = change.user.id
                    connection.execute(
                        "UPDATE nextgen_identity.users SET email = %s WHERE id = %s", [change.email, user]
                    )
                    connection.execute(KEEP_FORMER, [user, change.user.email, now, now + FORMER_EMAIL_LIFE])
                    connection.execute(ADD.encode(), parameters_of(notice))
            except psycopg.errors.UniqueViolation:
                return None
        return change

    def issue_former(self, user_id: str, email: str, token_sha256: bytes, now: datetime) -> datetime | None:
        row = self._row(ISSUE_FORMER, [token_sha256, user_id, email, now])
        return row["expires_at"] if row else None

    def find_former(self, token_sha256: bytes, now: datetime) -> EmailChange | None:
        return self._find("former_emails", token_sha256, now)

    def undo(self, token_sha256: bytes, reset: QueuedMail, now: datetime) -> EmailChange | None:
        # Nobody knows the password until the owner of the address sets one.
        password_hash = passwords.hashed(secrets.token_urlsafe(32))
        with self._platform() as connection:
            try:
                with connection.transaction():
                    used = _use_up(connection, "former_emails", token_sha256, now)
                    if used is None:
                        return None
                    change, row = used
                    values = {"user": change.user.id, "email": change.email, "hash": password_hash}
                    for statement in RESTORE:
                        connection.execute(statement.encode(), values | {"since": row["changed_at"]})
                    sign_out(connection, change.user.id, now)
                    connection.execute(ADD.encode(), parameters_of(reset))
            except psycopg.errors.UniqueViolation:
                return None
        return change

    def forget(self, now: datetime) -> None:
        try:
            for table in ("email_changes", "former_emails"):
                self._execute(f"DELETE FROM nextgen_identity.{table} WHERE expires_at <= %s", [now])  # noqa: S608
        except psycopg.errors.UndefinedTable:  # before the migration
            return

    def _find(self, table: str, token_sha256: bytes, now: datetime) -> EmailChange | None:
        try:
            row = self._row(FIND.format(table=table), [token_sha256, now])
        except psycopg.errors.UndefinedTable:
            return None
        return EmailChange(record_of(User, row), row["other_email"]) if row else None


def _use_up(
    connection: Connection, table: str, token_sha256: bytes, now: datetime
) -> tuple[EmailChange, dict[str, Any]] | None:
    """The change of a token with its row, which is deleted; of two requests one gets it."""
    found = connection.execute(FIND.format(table=table).encode(), [token_sha256, now]).fetchone()
    # The user's row first, in the order of whatever else changes a user.
    user = connection.execute(LOCK.encode(), [found["id"]]).fetchone() if found else None
    row = connection.execute(USE_UP.format(table=table).encode(), [token_sha256, now]).fetchone() if user else None
    return (EmailChange(record_of(User, user), row["email"]), row) if user and row else None
