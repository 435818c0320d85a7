"""Mails that wait, tokens of password resets, and invitations.

Before the migration of their tables, nothing is sent and nobody is invited, and sign-ins and changes of passwords work.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import psycopg

from deeplens.access.scopes import checked_roles
from deeplens.database.connections import PlatformAdapter, Values
from deeplens.database.rows import columns_of, insert_into, parameters_of, record_of
from deeplens.database.values import as_text
from deeplens.errors import TenantNotFound
from deeplens.identity import passwords
from deeplens.identity.model import Account, User
from deeplens.identity.recovery.model import Invitation, QueuedMail
from deeplens.telemetry.logs import logger

MAIL, INVITATION, USER = columns_of(QueuedMail), columns_of(Invitation), columns_of(User)
ADD = insert_into("nextgen_identity.outgoing_mail", QueuedMail)
CLAIM = f"""
WITH claimed AS (
    SELECT id AS due_id FROM nextgen_identity.outgoing_mail WHERE due <= %s AND expires_at > %s
    ORDER BY due LIMIT %s FOR UPDATE SKIP LOCKED
)
UPDATE nextgen_identity.outgoing_mail SET due = %s, attempts = attempts + 1 FROM claimed
WHERE id = due_id RETURNING {MAIL}
"""  # noqa: S608
GIVE_UP = f"DELETE FROM nextgen_identity.outgoing_mail WHERE expires_at <= %s RETURNING {MAIL}"  # noqa: S608
ISSUE_RESET = f"""
WITH reset AS (
    INSERT INTO nextgen_identity.password_resets (user_id, email, token_sha256, expires_at)
    SELECT id, email, %s, %s FROM nextgen_identity.users WHERE email = %s AND status = 'active'
    ON CONFLICT (user_id) DO UPDATE SET email = excluded.email, token_sha256 = excluded.token_sha256,
        expires_at = excluded.expires_at
    RETURNING user_id
)
SELECT {USER} FROM nextgen_identity.users JOIN reset ON user_id = id
"""  # noqa: S608
FIND_RESET = f"""
SELECT {columns_of(User, "u.")}
FROM nextgen_identity.password_resets r JOIN nextgen_identity.users u ON u.id = r.user_id
WHERE r.token_sha256 = %s AND r.expires_at > %s AND u.email = r.email AND u.status = 'active'
"""  # noqa: S608
USE_UP = "DELETE FROM nextgen_identity.password_resets WHERE token_sha256 = %s AND expires_at > %s"
# Of other owners' users nothing is asked here: whether they have the address is found out when the mail is composed.
INVITE = f"""
INSERT INTO nextgen_identity.invitations ({INVITATION})
SELECT %(id)s, %(tenant_id)s, %(email)s, %(name)s, %(roles)s, %(language)s, %(created_at)s, %(expires_at)s
WHERE NOT EXISTS (
    SELECT 1 FROM nextgen_identity.users WHERE email = %(email)s AND tenant_id IS NOT DISTINCT FROM %(tenant_id)s)
ON CONFLICT DO NOTHING RETURNING id
"""  # noqa: S608
FIND_INVITATION = f"""
SELECT {INVITATION} FROM nextgen_identity.invitations WHERE id = %s AND tenant_id IS NOT DISTINCT FROM %s
"""  # noqa: S608
ORGANISATION = "SELECT t.name FROM nextgen_identity.invitations i JOIN tenants t ON t.id = i.tenant_id WHERE i.id = %s"
RENEW = "UPDATE nextgen_identity.invitations SET expires_at = %s WHERE id = %s"
WITHDRAW = "DELETE FROM nextgen_identity.invitations WHERE id = %s AND tenant_id IS NOT DISTINCT FROM %s"
ISSUE_INVITATION = f"""
UPDATE nextgen_identity.invitations i SET token_sha256 = %s
WHERE id = %s AND expires_at > %s AND NOT EXISTS (SELECT 1 FROM nextgen_identity.users u WHERE u.email = i.email)
RETURNING {INVITATION}
"""  # noqa: S608
INVITATION_OF_TOKEN = f"""
SELECT {INVITATION} FROM nextgen_identity.invitations WHERE token_sha256 = %s AND expires_at > %s
"""  # noqa: S608
ACCEPT = f"""
WITH accepted AS (
    DELETE FROM nextgen_identity.invitations WHERE token_sha256 = %s AND expires_at > %s RETURNING *
)
INSERT INTO nextgen_identity.users (id, tenant_id, email, name, roles, password_hash)
SELECT id, tenant_id, email, %s, roles, %s FROM accepted ON CONFLICT (email) DO NOTHING RETURNING {USER}
"""  # noqa: S608


class _AfterMigration(PlatformAdapter):
    @contextmanager
    def _migrated(self) -> Iterator[None]:
        """Do nothing before the tables exist, and say so in the log."""
        try:
            yield
        except psycopg.errors.UndefinedTable:
            logger().error("mail is not sent: migrate the platform database")


class PostgresOutbox(_AfterMigration):
    """``Outbox`` on the table ``outgoing_mail``."""

    def add(self, mail: QueuedMail) -> None:
        with self._migrated():
            self._execute(ADD, parameters_of(mail))

    def claim(self, now: datetime, until: datetime, limit: int) -> list[QueuedMail]:
        rows: list[dict[str, object]] = []
        with self._migrated():
            rows = self._rows(CLAIM, [now, now, limit, until])
        return sorted((record_of(QueuedMail, row) for row in rows), key=lambda mail: mail.created_at)

    def postpone(self, mail_id: str, due: datetime) -> None:
        self._execute("UPDATE nextgen_identity.outgoing_mail SET due = %s WHERE id = %s", [due, mail_id])

    def remove(self, mail_id: str) -> None:
        self._execute("DELETE FROM nextgen_identity.outgoing_mail WHERE id = %s", [mail_id])

    def give_up(self, now: datetime) -> Sequence[QueuedMail]:
        with self._migrated():
            return [record_of(QueuedMail, row) for row in self._rows(GIVE_UP, [now])]
        return []


class PostgresPasswordResets(_AfterMigration):
    """``PasswordResets`` on the table ``password_resets``."""

    def issue(self, email: str, token_sha256: bytes, expires_at: datetime) -> User | None:
        row = self._row(ISSUE_RESET, [token_sha256, expires_at, as_text(email)])
        return record_of(User, row) if row else None

    def find(self, token_sha256: bytes, now: datetime) -> User | None:
        row = None
        with self._migrated():
            row = self._row(FIND_RESET, [token_sha256, now])
        return record_of(User, row) if row else None

    def use_up(self, token_sha256: bytes, now: datetime) -> bool:
        return self._execute(USE_UP, [token_sha256, now]) == 1

    def forget(self, now: datetime) -> None:
        with self._migrated():
            self._execute("DELETE FROM nextgen_identity.password_resets WHERE expires_at <= %s", [now])


class PostgresInvitations(_AfterMigration):
    """``Invitations`` on the table ``invitations``."""

    def invite(self, invitation: Invitation, mail: QueuedMail) -> Account | None:
        checked_roles(invitation.roles)
        try:
            stored = self._with_mail(INVITE, parameters_of(invitation), mail)
        except psycopg.errors.ForeignKeyViolation as error:
            raise TenantNotFound(f"no tenant {invitation.tenant_id}") from error
        return invitation.account if stored else None

    def find(self, owner: str | None, invitation_id: str) -> Invitation | None:
        row = None
        with self._migrated():
            row = self._row(FIND_INVITATION, [as_text(invitation_id), owner])
        return record_of(Invitation, row) if row else None

    def organisation(self, invitation_id: str) -> str | None:
        row = self._row(ORGANISATION, [invitation_id])
        return str(row["name"]) if row else None

    def renew(self, invitation: Invitation, mail: QueuedMail) -> bool:
        return self._with_mail(RENEW, [invitation.expires_at, invitation.id], mail)

    def withdraw(self, owner: str | None, invitation_id: str) -> bool:
        withdrawn = 0
        with self._migrated():
            withdrawn = self._execute(WITHDRAW, [as_text(invitation_id), owner])
        return withdrawn == 1

    def issue(self, invitation_id: str, token_sha256: bytes, now: datetime) -> Invitation | None:
        row = self._row(ISSUE_INVITATION, [token_sha256, invitation_id, now])
        return record_of(Invitation, row) if row else None

    def of_token(self, token_sha256: bytes, now: datetime) -> Invitation | None:
        row = None
        with self._migrated():
            row = self._row(INVITATION_OF_TOKEN, [token_sha256, now])
        return record_of(Invitation, row) if row else None

    def accept(self, token_sha256: bytes, name: str, password: str, now: datetime) -> User | None:
        row = self._row(ACCEPT, [token_sha256, now, as_text(name), passwords.hashed(passwords.accepted(password))])
        return record_of(User, row) if row else None

    def forget(self, now: datetime) -> None:
        with self._migrated():
            self._execute("DELETE FROM nextgen_identity.invitations WHERE expires_at <= %s", [now])

    def _with_mail(self, statement: str, values: Values, mail: QueuedMail) -> bool:
        """Change one row, and queue its mail in the same transaction. Returns False when no row changed."""
        with self._platform() as connection, connection.transaction():
            changed = connection.execute(statement.encode(), values).rowcount == 1
            if changed:
                connection.execute(ADD.encode(), parameters_of(mail))
        return changed
