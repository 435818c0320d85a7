"""Users with their sessions, and OAuth clients with the scopes that users granted them.

A statement with an owner, a tenant or None for the platform, reaches no other owner's rows.
"""

import secrets
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import psycopg

from deeplens.access.api_keys import digest
from deeplens.access.scopes import SCOPES, checked_roles, checked_scopes
from deeplens.database.connections import PlatformAdapter
from deeplens.database.rows import columns_of, insert_into, parameters_of, record_of
from deeplens.database.values import as_text
from deeplens.errors import TenantNotFound
from deeplens.identity import passwords
from deeplens.identity.model import PASSWORD_ONLY, SESSION_LIFE, Account, AccountChange, Client, Session, User
from deeplens.identity.sign_out import sign_out

USER, ACCOUNT, CLIENT = columns_of(User), columns_of(Account), columns_of(Client)
FIND_USER = f"SELECT {USER} FROM nextgen_identity.users WHERE id = %s AND status = 'active'"  # noqa: S608
PAGE = "WHERE tenant_id IS NOT DISTINCT FROM %s AND {key} > %s ORDER BY {key} LIMIT %s"
USERS = f"SELECT {ACCOUNT} FROM nextgen_identity.users {PAGE.format(key='email')}"  # noqa: S608
USERS_AND_INVITED = f"""
SELECT {ACCOUNT} FROM (SELECT {ACCOUNT} FROM nextgen_identity.users UNION ALL
    SELECT id, tenant_id, email, name, roles, 'invited' AS status, created_at
    FROM nextgen_identity.invitations) AS people {PAGE.format(key="email")}
"""  # noqa: S608
CREATE_USER = f"""
INSERT INTO nextgen_identity.users ({USER}, password_hash) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (email) DO NOTHING RETURNING {ACCOUNT}
"""  # noqa: S608
LOCK_USER = f"""
SELECT {ACCOUNT} FROM nextgen_identity.users WHERE id = %(id)s AND tenant_id IS NOT DISTINCT FROM %(owner)s FOR UPDATE
"""  # noqa: S608
CHANGE_USER = f"""
UPDATE nextgen_identity.users SET name = coalesce(%(name)s, name), roles = coalesce(%(roles)s, roles),
    password_hash = coalesce(%(hash)s, password_hash), status = coalesce(%(status)s, status)
WHERE id = %(id)s AND tenant_id IS NOT DISTINCT FROM %(owner)s RETURNING {ACCOUNT}
"""  # noqa: S608
DELETE_USER = "DELETE FROM nextgen_identity.users WHERE id = %s AND tenant_id IS NOT DISTINCT FROM %s"
FIND_PASSWORD = f"SELECT {USER}, password_hash FROM nextgen_identity.users WHERE email = %s AND status = 'active'"  # noqa: S608
RENEW_HASH = "UPDATE nextgen_identity.users SET password_hash = %s WHERE id = %s AND password_hash = %s"
OPEN_SESSION = """
INSERT INTO nextgen_identity.sessions (secret_sha256, id, user_id, authenticated_at, expires_at)
VALUES (%s, %s, %s, %s, %s)
"""
# Before revision 0017 nobody has another method than the password, and no table has the column.
SET_METHODS = "UPDATE nextgen_identity.sessions SET methods = %s WHERE secret_sha256 = %s"
FIND_SESSION = """
SELECT s.id AS session_id, s.authenticated_at, to_jsonb(s) -> 'methods' AS methods,
    (to_jsonb(s) ->> 'last_seen_at')::timestamptz AS last_seen_at,
    u.id, u.tenant_id, u.email, u.name, u.roles
FROM nextgen_identity.sessions s JOIN nextgen_identity.users u ON u.id = s.user_id
WHERE s.secret_sha256 = %s AND s.expires_at > %s AND u.status = 'active'
"""
EXIST = "SELECT 1 FROM nextgen_identity.users WHERE email = ANY(%s) LIMIT 1"
FIND_CLIENT = f"SELECT {CLIENT} FROM nextgen_identity.clients WHERE id = %s AND status = 'active'"  # noqa: S608
CLIENTS = f"SELECT {CLIENT} FROM nextgen_identity.clients {PAGE.format(key='id')}"  # noqa: S608
SAVE_CLIENT = f"""
{insert_into("nextgen_identity.clients AS c", Client)}
ON CONFLICT (id) DO UPDATE SET name = excluded.name, secret_sha256 = excluded.secret_sha256,
    redirect_uris = excluded.redirect_uris, post_logout_redirect_uris = excluded.post_logout_redirect_uris,
    grants = excluded.grants, scopes = excluded.scopes, needs_consent = excluded.needs_consent
WHERE c.tenant_id IS NOT DISTINCT FROM excluded.tenant_id
"""
REPLACE_SECRET = f"""
UPDATE nextgen_identity.clients SET secret_sha256 = %s
WHERE id = %s AND tenant_id IS NOT DISTINCT FROM %s AND secret_sha256 IS NOT NULL RETURNING {CLIENT}
"""  # noqa: S608
DELETE_CLIENT = "DELETE FROM nextgen_identity.clients WHERE id = %s AND tenant_id IS NOT DISTINCT FROM %s"
GRANTED_SCOPES = "SELECT scopes FROM nextgen_identity.consents WHERE user_id = %s AND client_id = %s"
GRANT_SCOPES = """
INSERT INTO nextgen_identity.consents AS c (user_id, client_id, scopes) VALUES (%s, %s, %s)
ON CONFLICT (user_id, client_id) DO UPDATE SET granted_at = now(),
    scopes = ARRAY(SELECT DISTINCT unnest(c.scopes || excluded.scopes) ORDER BY 1)
"""


class PostgresUsers(PlatformAdapter):
    """``Users`` on the tables ``users`` and ``sessions``."""

    def find(self, user_id: str) -> User | None:
        row = self._row(FIND_USER, [user_id])
        return record_of(User, row) if row else None

    def exist(self, emails: Iterable[str]) -> bool:
        return self._row(EXIST, [list(emails)]) is not None

    def of_owner(self, owner: str | None, after: str, limit: int) -> list[Account]:
        values = [owner, as_text(after), limit]
        try:
            rows = self._rows(USERS_AND_INVITED, values)
        except psycopg.errors.UndefinedTable:  # before its migration
            rows = self._rows(USERS, values)
        return [record_of(Account, row) for row in rows]

    def create(self, user: User, password: str) -> Account | None:
        values = [user.id, user.tenant_id, user.email.lower(), as_text(user.name), checked_roles(user.roles)]
        try:
            row = self._row(CREATE_USER, [*values, passwords.hashed(passwords.accepted(password))])
        except psycopg.errors.ForeignKeyViolation as error:
            raise TenantNotFound(f"no tenant {user.tenant_id}") from error
        return record_of(Account, row) if row else None

    def change(
        self,
        owner: str | None,
        user_id: str,
        change: AccountChange,
        now: datetime,
        check: Callable[[Account], None] = lambda _: None,
        keep_session: str | None = None,
    ) -> Account | None:
        values = {
            "id": as_text(user_id),
            "owner": owner,
            "name": change.name,
            "roles": None if change.roles is None else checked_roles(change.roles),
            "hash": None if change.password is None else passwords.hashed(passwords.accepted(change.password)),
            "status": change.status,
        }
        with self._connections.platform() as connection, connection.transaction():
            row = connection.execute(LOCK_USER, values).fetchone()
            if row is None:
                return None
            check(record_of(Account, row))
            row = connection.execute(CHANGE_USER, values).fetchone()
            if row is not None and (change.password is not None or change.status == "disabled"):
                sign_out(connection, as_text(user_id), now, keep_session)
        return record_of(Account, row) if row else None

    def delete(self, owner: str | None, user_id: str) -> bool:
        return self._execute(DELETE_USER, [as_text(user_id), owner]) == 1

    def sign_in(self, email: str, password: str) -> User | None:
        row = self._row(FIND_PASSWORD, [as_text(email.strip().lower())])
        if not passwords.matches(row["password_hash"] if row else None, password) or row is None:
            return None
        if passwords.outdated(row["password_hash"]):
            self._execute(RENEW_HASH, [passwords.hashed(password), row["id"], row["password_hash"]])
        return record_of(User, row)

    def open_session(self, user: User, now: datetime, methods: Sequence[str] = PASSWORD_ONLY) -> str:
        secret = secrets.token_urlsafe(32)
        values = [digest(secret), secrets.token_urlsafe(12), user.id, now, now + SESSION_LIFE]
        with self._platform() as connection, connection.transaction():
            connection.execute(OPEN_SESSION, values)
            if tuple(methods) != PASSWORD_ONLY:
                connection.execute(SET_METHODS, [list(methods), digest(secret)])
        return secret

    def session(self, secret: str, now: datetime) -> Session | None:
        row = self._row(FIND_SESSION, [digest(secret), now])
        if row is None:
            return None
        methods = tuple(row["methods"] or PASSWORD_ONLY)
        return Session(row["session_id"], record_of(User, row), row["authenticated_at"], methods, row["last_seen_at"])

    def close_session(self, secret: str) -> None:
        self._execute("DELETE FROM nextgen_identity.sessions WHERE secret_sha256 = %s", [digest(secret)])


class PostgresClients(PlatformAdapter):
    """``Clients`` on the tables ``clients`` and ``consents``."""

    def find(self, client_id: str) -> Client | None:
        row = self._row(FIND_CLIENT, [as_text(client_id)])
        return record_of(Client, row) if row else None

    def of_owner(self, owner: str | None, after: str, limit: int) -> list[Client]:
        return [record_of(Client, row) for row in self._rows(CLIENTS, [owner, as_text(after), limit])]

    def save(self, client: Client) -> None:
        checked_scopes(client.scopes, SCOPES)
        try:
            saved = self._execute(SAVE_CLIENT, parameters_of(client)) == 1
        except psycopg.errors.ForeignKeyViolation as error:
            raise TenantNotFound(f"no tenant {client.tenant_id}") from error
        if not saved:
            raise ValueError(f"the client {client.id} has another owner")

    def replace_secret(self, owner: str | None, client_id: str, secret_sha256: bytes) -> Client | None:
        row = self._row(REPLACE_SECRET, [secret_sha256, as_text(client_id), owner])
        return record_of(Client, row) if row else None

    def delete(self, owner: str | None, client_id: str) -> bool:
        return self._execute(DELETE_CLIENT, [as_text(client_id), owner]) == 1

    def organisation(self, client: Client) -> str | None:
        row = self._row("SELECT name FROM tenants WHERE id = %s", [client.tenant_id])
        return row["name"] if row else None

    def granted_scopes(self, user_id: str, client_id: str) -> frozenset[str]:
        row = self._row(GRANTED_SCOPES, [user_id, client_id])
        return frozenset(row["scopes"]) if row else frozenset()

    def grant_scopes(self, user_id: str, client_id: str, scopes: Iterable[str]) -> None:
        self._execute(GRANT_SCOPES, [user_id, client_id, sorted(set(scopes))])
