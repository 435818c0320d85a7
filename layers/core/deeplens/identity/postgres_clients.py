"""OAuth clients, and the scopes that users granted them."""

from collections.abc import Iterable

import psycopg

from deeplens.access.scopes import SCOPES, checked_scopes
from deeplens.database.connections import PlatformAdapter
from deeplens.database.rows import record_of
from deeplens.database.values import as_text
from deeplens.errors import TenantNotFound
from deeplens.identity.model import Client

COLUMNS = "id, tenant_id, name, secret_sha256, redirect_uris, post_logout_redirect_uris, grants, scopes, needs_consent"
FIND = f"SELECT {COLUMNS} FROM nextgen_identity.clients WHERE id = %s AND status = 'active'"  # noqa: S608
OF_OWNER = f"SELECT {COLUMNS} FROM nextgen_identity.clients WHERE tenant_id IS NOT DISTINCT FROM %s ORDER BY id"  # noqa: S608
SAVE = f"""
INSERT INTO nextgen_identity.clients AS c ({COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, secret_sha256 = excluded.secret_sha256,
    redirect_uris = excluded.redirect_uris, post_logout_redirect_uris = excluded.post_logout_redirect_uris,
    grants = excluded.grants, scopes = excluded.scopes, needs_consent = excluded.needs_consent
WHERE c.tenant_id IS NOT DISTINCT FROM excluded.tenant_id
"""  # noqa: S608
REPLACE_SECRET = f"""
UPDATE nextgen_identity.clients SET secret_sha256 = %s
WHERE id = %s AND tenant_id IS NOT DISTINCT FROM %s AND secret_sha256 IS NOT NULL RETURNING {COLUMNS}
"""  # noqa: S608
DELETE = "DELETE FROM nextgen_identity.clients WHERE id = %s AND tenant_id IS NOT DISTINCT FROM %s"
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
        return record_of(Client, row) if row else None

    def of_owner(self, owner: str | None) -> list[Client]:
        return [record_of(Client, row) for row in self._rows(OF_OWNER, [owner])]

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
            saved = self._execute(SAVE, values) == 1
        except psycopg.errors.ForeignKeyViolation as error:
            raise TenantNotFound(f"no tenant {client.tenant_id}") from error
        if not saved:
            raise ValueError(f"the client {client.id} has another owner")

    def replace_secret(self, owner: str | None, client_id: str, secret_sha256: bytes) -> Client | None:
        row = self._row(REPLACE_SECRET, [secret_sha256, as_text(client_id), owner])
        return record_of(Client, row) if row else None

    def delete(self, owner: str | None, client_id: str) -> bool:
        return self._execute(DELETE, [as_text(client_id), owner]) == 1

    def organisation(self, client: Client) -> str | None:
        row = self._row("SELECT name FROM tenants WHERE id = %s", [client.tenant_id])
        return row["name"] if row else None

    def granted_scopes(self, user_id: str, client_id: str) -> frozenset[str]:
        row = self._row(GRANTED, [user_id, client_id])
        return frozenset(row["scopes"]) if row else frozenset()

    def grant_scopes(self, user_id: str, client_id: str, scopes: Iterable[str]) -> None:
        self._execute(GRANT, [user_id, client_id, sorted(set(scopes))])
