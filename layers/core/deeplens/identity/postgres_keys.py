"""Public halves and times of the signing keys."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from deeplens.database.connections import Connection, PlatformAdapter
from deeplens.database.rows import record_of
from deeplens.database.values import as_text
from deeplens.identity.key_plan import SigningKey
from deeplens.identity.ports import KeyRows

ROTATION_LOCK = 7_301_995
READ = """
SELECT kid, public_jwk, created_at, signs_from, lost_at IS NOT NULL AS lost,
    to_jsonb(k) ->> 'revoked_at' IS NOT NULL AS revoked -- absent before revision 0018
FROM nextgen_identity.signing_keys k ORDER BY signs_from
"""
REVOKE = "UPDATE nextgen_identity.signing_keys SET revoked_at = %s WHERE kid = %s AND revoked_at IS NULL"
ADD = "INSERT INTO nextgen_identity.signing_keys (kid, public_jwk, created_at, signs_from) VALUES (%s, %s, %s, %s)"


class PostgresKeyRows:
    """``KeyRows`` on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> list[SigningKey]:
        return [record_of(SigningKey, row) for row in self._connection.execute(READ).fetchall()]

    def add(self, key: SigningKey) -> None:
        self._connection.execute(ADD, [key.kid, Jsonb(key.public_jwk), key.created_at, key.signs_from])

    def remove(self, kid: str) -> None:
        self._connection.execute("DELETE FROM nextgen_identity.signing_keys WHERE kid = %s", [kid])


class PostgresSigningKeys(PlatformAdapter):
    """``StoredKeys`` on the table ``signing_keys``."""

    @contextmanager
    def locked(self) -> Iterator[KeyRows]:
        with self._connections.platform() as connection, connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [ROTATION_LOCK])
            yield PostgresKeyRows(connection)

    def all(self) -> list[SigningKey]:
        with self._connections.platform() as connection:
            return PostgresKeyRows(connection).all()

    def jwks(self) -> dict[str, Any]:
        return {"keys": [key.public_jwk for key in self.all() if not key.revoked]}

    def mark_lost(self, kid: str, at: datetime) -> None:
        self._execute("UPDATE nextgen_identity.signing_keys SET lost_at = %s WHERE kid = %s", [at, kid])

    def revoke(self, kid: str, at: datetime) -> bool:
        return self._execute(REVOKE, [at, as_text(kid)]) == 1
