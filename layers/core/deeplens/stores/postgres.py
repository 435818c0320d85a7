"""Registered stores of all tenants, in the platform database."""

from datetime import datetime
from typing import Any

from deeplens.database.connections import Connections
from deeplens.database.values import as_jsonb, as_text
from deeplens.stores.model import TenantStore

NAMES = tuple(TenantStore.__slots__)
COLUMNS = ", ".join(NAMES)
CHANGING = ("credentials_version", "removal", "state", "checks", "former_uri", "event_secret_sha256")
FIND = f"SELECT {COLUMNS} FROM tenant_stores WHERE tenant_id = %s AND id = %s"  # noqa: S608
OF_TENANT = f"SELECT {COLUMNS} FROM tenant_stores WHERE tenant_id = %s ORDER BY id"  # noqa: S608
OF_CONTAINER = f"""
SELECT {", ".join("s." + name for name in NAMES)} FROM tenant_stores s
JOIN tenants t ON t.id = s.tenant_id AND t.status = 'active'
WHERE s.container = %s AND s.state = 'ready' ORDER BY s.id
"""  # noqa: S608
SAVE = f"""
INSERT INTO tenant_stores ({COLUMNS}) VALUES ({", ".join(f"%({name})s" for name in NAMES)})
ON CONFLICT (id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in CHANGING)}
"""  # noqa: S608
PLACE = "UPDATE tenants SET storage_uri = %s WHERE id = %s"


class PostgresRegisteredStores:
    """``RegisteredStores`` on psycopg."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def find(self, tenant_id: str, store_id: str) -> TenantStore | None:
        found = self._read(FIND, [as_text(tenant_id), as_text(store_id)])
        return found[0] if found else None

    def of_tenant(self, tenant_id: str) -> list[TenantStore]:
        return self._read(OF_TENANT, [tenant_id])

    def of_container(self, container: str) -> list[TenantStore]:
        return self._read(OF_CONTAINER, [as_text(container)])

    def save(self, store: TenantStore) -> None:
        values = {name: getattr(store, name) for name in NAMES} | {"checks": as_jsonb(list(store.checks))}
        with self._connections.platform() as connection:
            connection.execute(SAVE, values)

    def adopt(self, store: TenantStore) -> None:
        self._place(store.tenant_id, store.root)

    def release(self, store: TenantStore) -> None:
        self._place(store.tenant_id, store.former_uri or "")

    def remove(self, tenant_id: str, store_id: str) -> None:
        with self._connections.platform() as connection:
            connection.execute("DELETE FROM tenant_stores WHERE tenant_id = %s AND id = %s", [tenant_id, store_id])

    def notified(self, store_id: str, now: datetime) -> None:
        with self._connections.platform() as connection:
            connection.execute("UPDATE tenant_stores SET notified_at = %s WHERE id = %s", [now, store_id])

    def _place(self, tenant_id: str, uri: str) -> None:
        with self._connections.platform() as connection:
            connection.execute(PLACE, [uri, tenant_id])

    def _read(self, statement: str, values: list[Any]) -> list[TenantStore]:
        with self._connections.platform() as connection:
            rows = connection.execute(statement, values).fetchall()
        return [TenantStore(**row | {"checks": tuple(row["checks"])}) for row in rows]
