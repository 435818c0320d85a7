"""Creation of tenants, and migration of their databases. Every step is safe to repeat."""

import re
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from deeplens.database import migrate, roles
from deeplens.database.connections import Connections, PlatformAdapter, connect, translated
from deeplens.database.credentials import database_url
from deeplens.database.values import as_text
from deeplens.embedding.model import BUILT_IN_MODEL, ModelRef
from deeplens.errors import StoreNotOwned, TenantNotFound
from deeplens.storage.keys import BucketNames
from deeplens.storage.ports import StoreResolver
from deeplens.tenants.directory import TENANTS, tenant_of
from deeplens.tenants.model import Placement, Tenant
from deeplens.vectors.ports import VectorIndex

NAME = re.compile(r"tenant_[a-z0-9_]{0,39}[a-z0-9]")  # buckets end with a letter or digit
INSERT = """
INSERT INTO tenants (id, name, database_name, storage_uri, model_name, model_version, model_dimensions,
                     database_server, qdrant_url)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""
RECORD_STEP = """
UPDATE tenants SET progress = progress || jsonb_build_object(%s::text, now()) WHERE id = %s AND status = 'provisioning'
"""
ACTIVATE = """
UPDATE tenants SET schema_version = %s, status = CASE status WHEN 'provisioning' THEN 'active' ELSE status END
WHERE id = %s
"""


@dataclass(frozen=True, slots=True)
class TenantDatabase:
    """A tenant's database; its URLs have the administrator's credentials."""

    id: str
    server_url: str
    name: str
    version: str | None

    @property
    def url(self) -> str:
        return database_url(self.server_url, self.name)


class Provisioning(PlatformAdapter):
    """Creates tenants: row, database and role, bucket, collection, in this order; last the row becomes ``active``."""

    def __init__(
        self,
        connections: Connections,
        stores: StoreResolver,
        index: VectorIndex,
        qdrant_url: str,
        bucket_names: BucketNames | None = None,
    ) -> None:
        super().__init__(connections)
        self._stores, self._index, self._qdrant_url = stores, index, qdrant_url
        self._bucket_names = bucket_names or BucketNames()

    def provision(
        self,
        tenant_id: str,
        name: str,
        scheme: str = "s3",
        model: ModelRef = BUILT_IN_MODEL,
        placement: Placement | None = None,
    ) -> Tenant:
        """Create a tenant, or finish a creation that stopped.

        Parameters
        ----------
        scheme : of its store: ``s3``, ``minio`` or ``nfs``. The bucket is named after the tenant.
        placement : where its data is stored, instead of ``scheme``.

        Raises
        ------
        ValueError
            The id is not ``tenant_`` and lower-case letters, digits and underscores.
        TenantNotFound
            The tenant is being deleted.
        StoreNotOwned
            Its bucket exists and does not have this installation's mark, or is another tenant's.
        DatabaseUnavailable, StoreUnavailable, IndexUnavailable
            Repeat it when the dependency is available again.
        """
        if not NAME.fullmatch(tenant_id):
            raise ValueError(
                f"{tenant_id!r} is not a tenant id: use tenant_ and a-z, 0-9, _ (at most 40, the last no _)"
            )
        self._insert(tenant_id, name, placement or Placement(scheme), model)
        return self.resume(tenant_id)

    def resume(self, tenant_id: str) -> Tenant:
        """Finish the creation of a tenant that has a row. Raises as ``provision`` does."""
        tenant, database = self.tenant(tenant_id), database_of(self._tenant_row(tenant_id), self._connections)
        if tenant.status in ("deleting", "deleted"):
            raise TenantNotFound(f"{tenant_id} is {tenant.status}")
        create_database(database.server_url, database.name)
        version = upgrade(database, self._connections.tenant_key)
        self._execute(RECORD_STEP, ["database", tenant_id])
        self._stores.for_tenant(tenant).ensure()
        self._execute(RECORD_STEP, ["store", tenant_id])
        self._index.create_collection(tenant)
        self._execute(RECORD_STEP, ["collection", tenant_id])
        self._execute(ACTIVATE, [version, tenant_id])
        return self.tenant(tenant_id)

    def adopt_store(self, tenant_id: str, replacing: str = "") -> Tenant:
        """Mark the tenant's bucket as this installation's, which lets maintenance and deletions remove objects there.

        ``replacing`` is the mark of another installation that no longer uses the bucket. Raises ``StoreNotOwned`` if
        the bucket carries any other.
        """
        tenant = self.tenant(tenant_id)
        self._stores.for_tenant(tenant).adopt(replacing)
        return tenant

    def tenant(self, tenant_id: str) -> Tenant:
        """The tenant, whatever its status. Raises ``TenantNotFound``."""
        return tenant_of(self._tenant_row(tenant_id), self._connections, self._qdrant_url)

    def drop_database(self, tenant_id: str) -> None:
        """Drop the tenant's database and its role if they exist, and end their connections."""
        database = database_of(self._tenant_row(tenant_id), self._connections)
        with translated(), connect(database.server_url) as connection:
            name = sql.Identifier(database.name)
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        roles.drop_role(database.server_url, database.name)

    def _insert(self, tenant_id: str, name: str, placement: Placement, model: ModelRef) -> None:
        storage_uri = self._bucket_names.uri_of(placement.scheme, tenant_id)
        if self._row("SELECT id FROM tenants WHERE storage_uri = %s AND id <> %s", [storage_uri, tenant_id]):
            raise StoreNotOwned(storage_uri, why="belongs to another tenant")
        values = [
            *(tenant_id, as_text(name), f"deeplens_{tenant_id}", storage_uri, model.name, model.version),
            *(model.dimensions, placement.database_server, placement.qdrant_url),
        ]
        self._execute(INSERT, values)

    def _tenant_row(self, tenant_id: str) -> dict[str, Any]:
        row = self._row(f"{TENANTS} WHERE t.id = %s", [tenant_id])
        if row is None:
            raise TenantNotFound(f"no tenant {tenant_id}")
        return row


def create_database(server_url: str, name: str) -> None:
    """Create a database unless it exists."""
    with translated(), connect(server_url) as connection:
        try:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            # A concurrent run created it.
            return


def upgrade(database: TenantDatabase, key: str) -> str:
    """Migrate a tenant's database, and update its role to the current key and privileges; returns the version."""
    roles.seal(database.server_url)
    version = migrate.upgrade(database.url, "tenant")
    roles.admit(database.url, database.name, key)
    return version


def database_of(row: dict[str, Any], connections: Connections) -> TenantDatabase:
    """The database of a row of ``tenants``, by default on the platform's server."""
    server = connections.server_url(row["id"], row["database_server"])
    return TenantDatabase(row["id"], server, row["database_name"], row["schema_version"])
