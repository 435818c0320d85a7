"""Objects of registered stores as they were last seen, in the tenant's database."""

from collections.abc import Collection, Sequence
from typing import Any

from deeplens.database.connections import Connections
from deeplens.database.values import as_jsonb
from deeplens.stores.model import KnownObject, ObjectState
from deeplens.tenants.model import Tenant

COLUMNS = "key, etag, image_id, version, state"
FIND = f"SELECT {COLUMNS} FROM store_objects WHERE store_id = %s AND key = ANY(%s)"  # noqa: S608
SAVE = """
INSERT INTO store_objects AS o (store_id, key, etag, image_id, version, state, run_id)
SELECT %s, r.key, r.etag, r.image_id, r.version, r.state, %s
FROM jsonb_to_recordset(%s) AS r(key text, etag text, image_id text, version int, state text) ORDER BY r.key
ON CONFLICT (store_id, key) DO UPDATE SET etag = excluded.etag, image_id = excluded.image_id,
    version = excluded.version, state = excluded.state, run_id = coalesce(excluded.run_id, o.run_id)
"""
UNSEEN = f"""
SELECT {COLUMNS} FROM store_objects
WHERE store_id = %s AND key > %s AND state IN ('present', 'removing') AND run_id IS DISTINCT FROM %s
ORDER BY key LIMIT %s
"""  # noqa: S608
IN_STATE = f"SELECT {COLUMNS} FROM store_objects WHERE store_id = %s AND state = %s ORDER BY key LIMIT %s"  # noqa: S608
COUNTS = "SELECT state, count(*) AS objects FROM store_objects WHERE store_id = %s GROUP BY state"


class PostgresStoreObjects:
    """``StoreObjects`` on psycopg."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def find(self, tenant: Tenant, store_id: str, keys: Collection[str]) -> dict[str, KnownObject]:
        return {one.key: one for one in self._read(tenant, FIND, [store_id, list(keys)])}

    def save(self, tenant: Tenant, store_id: str, objects: Sequence[KnownObject], run_id: str | None = None) -> None:
        if not objects:
            return
        rows = [{name: getattr(one, name) for name in KnownObject.__slots__} for one in objects]
        with self._connections.tenant(tenant) as connection:
            connection.execute(SAVE, [store_id, run_id, as_jsonb(rows)])

    def unseen(self, tenant: Tenant, store_id: str, run_id: str, after: str, limit: int) -> list[KnownObject]:
        return self._read(tenant, UNSEEN, [store_id, after, run_id, limit])

    def in_state(self, tenant: Tenant, store_id: str, state: ObjectState, limit: int) -> list[KnownObject]:
        return self._read(tenant, IN_STATE, [store_id, state, limit])

    def counts(self, tenant: Tenant, store_id: str) -> dict[str, int]:
        with self._connections.tenant(tenant) as connection:
            return {row["state"]: row["objects"] for row in connection.execute(COUNTS, [store_id])}

    def forget(self, tenant: Tenant, store_id: str) -> None:
        with self._connections.tenant(tenant) as connection:
            connection.execute("DELETE FROM store_objects WHERE store_id = %s", [store_id])

    def _read(self, tenant: Tenant, statement: str, values: list[Any]) -> list[KnownObject]:
        with self._connections.tenant(tenant) as connection:
            return [KnownObject(**row) for row in connection.execute(statement, values)]
