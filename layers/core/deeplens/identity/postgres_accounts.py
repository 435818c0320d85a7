"""Users and clients of one owner, a tenant or the platform: no statement reaches another owner's."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from deeplens.access.scopes import checked_roles
from deeplens.database.connections import PlatformAdapter
from deeplens.database.values import as_text
from deeplens.identity import passwords
from deeplens.identity.model import Account, ClientRecord
from deeplens.identity.postgres_clients import new_secret

USER = "id, tenant_id, email, name, roles, status, created_at"
USERS = f"SELECT {USER} FROM nextgen_identity.users WHERE tenant_id IS NOT DISTINCT FROM %s ORDER BY email"  # noqa: S608
CREATE_USER = f"""
INSERT INTO nextgen_identity.users (id, tenant_id, email, name, roles, password_hash) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (email) DO NOTHING RETURNING {USER}
"""  # noqa: S608
CHANGE_USER = f"""
UPDATE nextgen_identity.users SET name = coalesce(%(name)s, name), roles = coalesce(%(roles)s, roles),
    password_hash = coalesce(%(hash)s, password_hash), status = coalesce(%(status)s, status),
    failed_sign_ins = CASE WHEN %(hash)s::text IS NULL THEN failed_sign_ins ELSE 0 END,
    locked_until = CASE WHEN %(hash)s::text IS NULL THEN locked_until END
WHERE id = %(id)s AND tenant_id IS NOT DISTINCT FROM %(owner)s RETURNING {USER}
"""  # noqa: S608
SIGN_OUT = (
    "DELETE FROM nextgen_identity.sessions WHERE user_id = %(id)s",
    "UPDATE nextgen_identity.token_families SET revoked_at = %(now)s WHERE user_id = %(id)s AND revoked_at IS NULL",
)
DELETE_USER = "DELETE FROM nextgen_identity.users WHERE id = %s AND tenant_id IS NOT DISTINCT FROM %s"
CLIENT = (
    "id, tenant_id, name, secret_sha256 IS NOT NULL AS confidential, redirect_uris, post_logout_redirect_uris, grants, "
    "scopes, needs_consent"
)
CLIENTS = f"SELECT {CLIENT} FROM nextgen_identity.clients WHERE tenant_id IS NOT DISTINCT FROM %s ORDER BY id"  # noqa: S608
CREATE_CLIENT = """
INSERT INTO nextgen_identity.clients (id, tenant_id, name, redirect_uris, post_logout_redirect_uris, grants, scopes,
                                      needs_consent, secret_sha256)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
NEW_SECRET = f"""
UPDATE nextgen_identity.clients SET secret_sha256 = %s
WHERE id = %s AND tenant_id IS NOT DISTINCT FROM %s AND secret_sha256 IS NOT NULL RETURNING {CLIENT}
"""  # noqa: S608
DELETE_CLIENT = "DELETE FROM nextgen_identity.clients WHERE id = %s AND tenant_id IS NOT DISTINCT FROM %s"


class PostgresAccounts(PlatformAdapter):
    """``Accounts`` on the tables ``users`` and ``clients``."""

    def users(self, owner: str | None) -> list[Account]:
        return [_account(row) for row in self._rows(USERS, [owner])]

    def create_user(self, account: Account, password: str) -> Account | None:
        values = [account.id, account.tenant_id, account.email.lower(), as_text(account.name)]
        row = self._row(CREATE_USER, [*values, checked_roles(account.roles), passwords.hashed(password)])
        return _account(row) if row else None

    def change_user(
        self,
        owner: str | None,
        user_id: str,
        name: str | None,
        roles: Iterable[str] | None,
        password: str | None,
        status: str | None,
        now: datetime,
    ) -> Account | None:
        values = {
            "id": as_text(user_id),
            "owner": owner,
            "name": name,
            "roles": None if roles is None else checked_roles(roles),
            "hash": None if password is None else passwords.hashed(password),
            "status": status,
            "now": now,
        }
        with self._connections.platform() as connection, connection.transaction():
            row = connection.execute(CHANGE_USER, values).fetchone()
            if row is not None and (password is not None or status == "disabled"):
                for statement in SIGN_OUT:
                    connection.execute(statement, values)
        return _account(row) if row else None

    def delete_user(self, owner: str | None, user_id: str) -> bool:
        return self._delete(DELETE_USER, user_id, owner)

    def clients(self, owner: str | None) -> list[ClientRecord]:
        return [_client(row) for row in self._rows(CLIENTS, [owner])]

    def create_client(self, record: ClientRecord) -> str | None:
        secret, digest = new_secret() if record.confidential else (None, None)
        lists = (record.redirect_uris, record.post_logout_redirect_uris, record.grants, record.scopes)
        values = [record.id, record.tenant_id, as_text(record.name), *map(list, lists), record.needs_consent, digest]
        self._execute(CREATE_CLIENT, values)
        return secret

    def new_secret(self, owner: str | None, client_id: str) -> tuple[ClientRecord, str] | None:
        secret, digest = new_secret()
        row = self._row(NEW_SECRET, [digest, as_text(client_id), owner])
        return (_client(row), secret) if row else None

    def delete_client(self, owner: str | None, client_id: str) -> bool:
        return self._delete(DELETE_CLIENT, client_id, owner)

    def _delete(self, statement: str, name: str, owner: str | None) -> bool:
        return self._execute(statement, [as_text(name), owner]) == 1


def _account(row: dict[str, Any]) -> Account:
    return Account(**{**row, "roles": tuple(row["roles"])})


def _client(row: dict[str, Any]) -> ClientRecord:
    lists = ("redirect_uris", "post_logout_redirect_uris", "grants", "scopes")
    return ClientRecord(**{**row, **{name: tuple(row[name]) for name in lists}})
