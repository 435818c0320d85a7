"""Registered stores in the platform database, and their objects as they were last seen in the tenants' databases."""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from deeplens.database.connections import PlatformAdapter, TenantAdapter
from deeplens.database.rows import columns_of, insert_into, parameters_of, record_of
from deeplens.database.values import as_jsonb, as_text
from deeplens.stores.model import KnownObject, ObjectState, TenantStore
from deeplens.tenants.model import Tenant

STORE_COLUMNS = columns_of(TenantStore)
CHANGING = ("credentials_version", "removal", "state", "checks", "former_uri", "event_secret_sha256")
FIND_STORE = f"SELECT {STORE_COLUMNS} FROM tenant_stores WHERE tenant_id = %s AND id = %s"  # noqa: S608
OF_TENANT = f"SELECT {STORE_COLUMNS} FROM tenant_stores WHERE tenant_id = %s ORDER BY id"  # noqa: S608
OF_CONTAINER = f"""
SELECT {columns_of(TenantStore, "s.")} FROM tenant_stores s
JOIN tenants t ON t.id = s.tenant_id AND t.status = 'active'
WHERE s.container = %s AND s.state = 'ready' ORDER BY s.id
"""  # noqa: S608
SAVE_STORE = f"""
{insert_into("tenant_stores", TenantStore)}
ON CONFLICT (id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in CHANGING)}
"""
OBJECT_COLUMNS = "key, etag, image_id, version, state"
FIND_OBJECTS = f"SELECT {OBJECT_COLUMNS} FROM store_objects WHERE store_id = %s AND key = ANY(%s)"  # noqa: S608
SAVE_OBJECTS = """
INSERT INTO store_objects AS o (store_id, key, etag, image_id, version, state, run_id)
SELECT %s, r.key, r.etag, r.image_id, r.version, r.state, %s
FROM jsonb_to_recordset(%s) AS r(key text, etag text, image_id text, version int, state text) ORDER BY r.key
ON CONFLICT (store_id, key) DO UPDATE SET etag = excluded.etag, image_id = excluded.image_id,
    version = excluded.version, state = excluded.state, run_id = coalesce(excluded.run_id, o.run_id)
"""
UNSEEN = f"""
SELECT {OBJECT_COLUMNS} FROM store_objects
WHERE store_id = %s AND key > %s AND state IN ('present', 'removing') AND run_id IS DISTINCT FROM %s
ORDER BY key LIMIT %s
"""  # noqa: S608
IN_STATE = f"SELECT {OBJECT_COLUMNS} FROM store_objects WHERE store_id = %s AND state = %s ORDER BY key LIMIT %s"  # noqa: S608
COUNTS = "SELECT state, count(*) AS objects FROM store_objects WHERE store_id = %s GROUP BY state"


class PostgresRegisteredStores(PlatformAdapter):
    """``RegisteredStores`` on psycopg."""

    def find(self, tenant_id: str, store_id: str) -> TenantStore | None:
        row = self._row(FIND_STORE, [as_text(tenant_id), as_text(store_id)])
        return record_of(TenantStore, row) if row else None

    def of_tenant(self, tenant_id: str) -> list[TenantStore]:
        return [record_of(TenantStore, row) for row in self._rows(OF_TENANT, [tenant_id])]

    def of_container(self, container: str) -> list[TenantStore]:
        return [record_of(TenantStore, row) for row in self._rows(OF_CONTAINER, [as_text(container)])]

    def save(self, store: TenantStore) -> None:
        self._execute(SAVE_STORE, parameters_of(store) | {"checks": as_jsonb(list(store.checks))})

    def set_storage_uri(self, tenant_id: str, uri: str) -> None:
        self._execute("UPDATE tenants SET storage_uri = %s WHERE id = %s", [uri, tenant_id])

    def remove(self, tenant_id: str, store_id: str) -> None:
        self._execute("DELETE FROM tenant_stores WHERE tenant_id = %s AND id = %s", [tenant_id, store_id])

    def notified(self, store_id: str, now: datetime) -> None:
        self._execute("UPDATE tenant_stores SET notified_at = %s WHERE id = %s", [now, store_id])


class PostgresStoreObjects(TenantAdapter):
    """``StoreObjects`` on psycopg."""

    def find(self, tenant: Tenant, store_id: str, keys: Collection[str]) -> dict[str, KnownObject]:
        return {known.key: known for known in self._read(tenant, FIND_OBJECTS, [store_id, list(keys)])}

    def save(self, tenant: Tenant, store_id: str, objects: Sequence[KnownObject], run_id: str | None = None) -> None:
        if objects:
            self._execute(tenant, SAVE_OBJECTS, [store_id, run_id, as_jsonb([asdict(known) for known in objects])])

    def unseen(self, tenant: Tenant, store_id: str, run_id: str, after: str, limit: int) -> list[KnownObject]:
        return self._read(tenant, UNSEEN, [store_id, after, run_id, limit])

    def in_state(self, tenant: Tenant, store_id: str, state: ObjectState, limit: int) -> list[KnownObject]:
        return self._read(tenant, IN_STATE, [store_id, state, limit])

    def counts(self, tenant: Tenant, store_id: str) -> dict[str, int]:
        return {row["state"]: row["objects"] for row in self._rows(tenant, COUNTS, [store_id])}

    def forget(self, tenant: Tenant, store_id: str) -> None:
        self._execute(tenant, "DELETE FROM store_objects WHERE store_id = %s", [store_id])

    def _read(self, tenant: Tenant, statement: str, values: list[Any]) -> list[KnownObject]:
        return [KnownObject(**row) for row in self._rows(tenant, statement, values)]
