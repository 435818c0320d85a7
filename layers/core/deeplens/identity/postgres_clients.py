"""OAuth clients, and the scopes that users granted them."""

import secrets
from collections.abc import Iterable
from typing import Any

import psycopg

from deeplens.access.api_keys import digest
from deeplens.access.scopes import SCOPES, checked_scopes
from deeplens.database.connections import PlatformAdapter
from deeplens.database.values import as_text
from deeplens.errors import TenantNotFound
from deeplens.identity.client import Client

COLUMNS = "id, tenant_id, name, secret_sha256, redirect_uris, post_logout_redirect_uris, grants, scopes, needs_consent"
FIND = f"SELECT {COLUMNS} FROM nextgen_identity.clients WHERE id = %s AND status = 'active'"  # noqa: S608
SAVE = f"""
INSERT INTO nextgen_identity.clients ({COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (id) DO UPDATE SET tenant_id = excluded.tenant_id, name = excluded.name,
    secret_sha256 = excluded.secret_sha256, redirect_uris = excluded.redirect_uris,
    post_logout_redirect_uris = excluded.post_logout_redirect_uris, grants = excluded.grants,
    scopes = excluded.scopes, needs_consent = excluded.needs_consent
"""  # noqa: S608
GRANTED = "SELECT scopes FROM nextgen_identity.consents WHERE user_id = %s AND client_id = %s"
GRANT = """
INSERT INTO nextgen_identity.consents AS c (user_id, client_id, scopes) VALUES (%s, %s, %s)
ON CONFLICT (user_id, client_id) DO UPDATE SET granted_at = now(),
    scopes = ARRAY(SELECT DISTINCT unnest(c.scopes || excluded.scopes) ORDER BY 1)
"""


class PostgresClients(PlatformAdapter):
    """``Clients`` on the tables ``clients`` and ``consents``."""

    def find(self, client_id: str) -> Client | None:
        row = self._row(FIND, [client_id])
        return _client(row) if row else None

    def save(self, client: Client) -> None:
        checked_scopes(client.scopes, SCOPES)
        values = [
            client.id,
            client.tenant_id,
            as_text(client.name),
            client.secret_sha256,
            *map(list, (client.redirect_uris, client.post_logout_redirect_uris, client.grants, client.scopes)),
            client.needs_consent,
        ]
        try:
            with self._connections.platform() as connection:
                connection.execute(SAVE, values)
        except psycopg.errors.ForeignKeyViolation as error:
            raise TenantNotFound(f"no tenant {client.tenant_id}") from error

    def organisation(self, client: Client) -> str | None:
        row = self._row("SELECT name FROM tenants WHERE id = %s", [client.tenant_id])
        return row["name"] if row else None

    def granted_scopes(self, user_id: str, client_id: str) -> frozenset[str]:
        row = self._row(GRANTED, [user_id, client_id])
        return frozenset(row["scopes"]) if row else frozenset()

    def grant_scopes(self, user_id: str, client_id: str, scopes: Iterable[str]) -> None:
        self._execute(GRANT, [user_id, client_id, sorted(set(scopes))])


def new_secret() -> tuple[str, bytes]:
    """A client secret of 256 random bits, and the digest that is stored."""
    secret = secrets.token_urlsafe(32)
    return secret, digest(secret)


def _client(row: dict[str, Any]) -> Client:
    lists = ("redirect_uris", "post_logout_redirect_uris", "grants", "scopes")
    secret = None if row["secret_sha256"] is None else bytes(row["secret_sha256"])
    return Client(**{**row, "secret_sha256": secret, **{name: tuple(row[name]) for name in lists}})
