"""Clients' keys and used assertions, tables of revision 0023."""

from collections.abc import Iterable
from datetime import datetime

import psycopg
from psycopg.types.json import Jsonb

from deeplens.access.api_keys import digest
from deeplens.database.connections import PlatformAdapter
from deeplens.database.rows import record_of
from deeplens.database.values import as_text
from deeplens.identity.client_keys.model import ClientKeys

FIND = "SELECT client_id, jwks, jwks_uri FROM nextgen_identity.client_keys WHERE client_id = %s"
HAVING = "SELECT client_id FROM nextgen_identity.client_keys WHERE client_id = ANY(%s)"
SAVE = """
INSERT INTO nextgen_identity.client_keys (client_id, jwks, jwks_uri) VALUES (%s, %s, %s)
ON CONFLICT (client_id) DO UPDATE SET jwks = excluded.jwks, jwks_uri = excluded.jwks_uri
"""
USE = """
WITH expired AS (DELETE FROM nextgen_identity.used_assertions WHERE expires_at < %s)
INSERT INTO nextgen_identity.used_assertions (jti_sha256, expires_at) VALUES (%s, %s) ON CONFLICT DO NOTHING
"""


class PostgresClientKeys(PlatformAdapter):
    """``ClientKeyStore``. Before the tables exist, no client has a key."""

    def find(self, client_id: str) -> ClientKeys | None:
        try:
            row = self._row(FIND, [as_text(client_id)])
        except psycopg.errors.UndefinedTable:
            return None
        return record_of(ClientKeys, row) if row else None

    def having_keys(self, client_ids: Iterable[str]) -> set[str]:
        try:
            return {row["client_id"] for row in self._rows(HAVING, [list(client_ids)])}
        except psycopg.errors.UndefinedTable:
            return set()

    def save(self, keys: ClientKeys) -> None:
        jwks = None if keys.jwks is None else Jsonb(dict(keys.jwks))
        self._execute(SAVE, [keys.client_id, jwks, keys.jwks_uri])

    def use(self, client_id: str, jti: str, now: datetime, expires_at: datetime) -> bool:
        return self._execute(USE, [now, digest(f"{client_id}\0{jti}"), expires_at]) == 1
