"""Provisioning tenants and moving their databases to the newest schema. Every step is safe to run again."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from deeplens.database import migrate, roles
from deeplens.database.connections import Connections, connect, translated
from deeplens.database.credentials import database_url
from deeplens.database.values import as_text
from deeplens.embedding.built_in import BUILT_IN_MODEL, BUILT_IN_MODELS
from deeplens.embedding.model import ModelRef
from deeplens.embedding.postgres import REGISTER, model_row
from deeplens.errors import DatabaseUnavailable, TenantNotFound
from deeplens.storage.ports import StoreResolver
from deeplens.tenants.directory import TENANTS, tenant_of
from deeplens.tenants.model import Tenant
from deeplens.tenants.placement import Placement
from deeplens.vectors.ports import VectorIndex

NAME = re.compile(r"tenant_[a-z0-9_]{0,39}[a-z0-9]")  # buckets end with a letter or digit
MIGRATIONS_AT_ONCE = 4
INSERT = """
INSERT INTO tenants (id, name, database_name, storage_uri, model_name, model_version, model_dimensions,
                     database_server, qdrant_url)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""
DONE = """
UPDATE tenants SET progress = progress || jsonb_build_object(%s::text, now()) WHERE id = %s AND status = 'provisioning'
"""


@dataclass(frozen=True, slots=True)
class Migrated:
    """One tenant's part of a migration run; ``error`` says why it has to be repeated."""

    tenant_id: str
    version: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tenant's database is; its URLs carry the administrator's credentials."""

    id: str
    server_url: str
    database: str
    version: str | None

    @property
    def url(self) -> str:
        return database_url(self.server_url, self.database)


class Provisioning:
    """Creates tenants: row, database and role, bucket, collection, in this order; the row becomes ``active`` last."""

    def __init__(self, connections: Connections, stores: StoreResolver, index: VectorIndex, qdrant_url: str) -> None:
        self._connections, self._stores, self._index, self._qdrant_url = connections, stores, index, qdrant_url

    def provision(
        self,
        tenant_id: str,
        name: str,
        scheme: str = "s3",
        model: ModelRef = BUILT_IN_MODEL,
        placement: Placement | None = None,
    ) -> Tenant:
        """Create a tenant, or finish what an earlier run began.

        Parameters
        ----------
        scheme : of its store: ``s3``, ``minio`` or ``nfs``. The bucket is named after the tenant.
        placement : where its data shall live, instead of ``scheme``.

        Raises
        ------
        ValueError
            The id is not ``tenant_`` and lower-case letters, digits and underscores.
        TenantNotFound
            The tenant is being deleted.
        StoreNotOwned
            Its bucket is there already and does not carry this installation's mark.
        DatabaseUnavailable, StoreUnavailable, IndexUnavailable
            Run it again when the part is back.
        """
        if not NAME.fullmatch(tenant_id):
            raise ValueError(
                f"{tenant_id!r} is not a tenant id: use tenant_ and a-z, 0-9, _ (at most 40, the last no _)"
            )
        self._insert(tenant_id, name, placement or Placement(scheme), model)
        return self.resume(tenant_id)

    def resume(self, tenant_id: str) -> Tenant:
        """Finish the creation of a tenant whose row is there. Raises as ``provision`` does."""
        tenant, place = self.tenant(tenant_id), place_of(self._row(tenant_id), self._connections)
        if tenant.status in ("deleting", "deleted"):
            raise TenantNotFound(f"{tenant_id} is {tenant.status}")
        create_database(place.server_url, place.database)
        version = upgrade(place, self._connections.tenant_key)
        self._done(tenant_id, "database")
        self._stores.for_tenant(tenant).ensure()
        self._done(tenant_id, "store")
        self._index.create_collection(tenant)
        self._done(tenant_id, "collection")
        self._activate(tenant_id, version)
        return self.tenant(tenant_id)

    def adopt_store(self, tenant_id: str, replacing: str = "") -> Tenant:
        """Mark the tenant's bucket as this installation's, which lets maintenance and deletions remove objects there.

        Parameters
        ----------
        replacing : the mark of another installation that no longer uses the bucket.

        Raises
        ------
        StoreNotOwned
            The bucket carries another mark than ``replacing``.
        """
        tenant = self.tenant(tenant_id)
        self._stores.for_tenant(tenant).adopt(replacing)
        return tenant

    def tenant(self, tenant_id: str) -> Tenant:
        """The tenant, whatever its status. Raises ``TenantNotFound``."""
        return tenant_of(self._row(tenant_id), self._connections, self._qdrant_url)

    def drop_database(self, tenant_id: str) -> None:
        """Remove the tenant's database and its role, whoever is connected; what is gone already is fine."""
        place = place_of(self._row(tenant_id), self._connections)
        with translated(), connect(place.server_url) as connection:
            name = sql.Identifier(place.database)
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        roles.drop_role(place.server_url, place.database)

    def _insert(self, tenant_id: str, name: str, placement: Placement, model: ModelRef) -> None:
        storage_uri = f"{placement.scheme}://{tenant_id.replace('_', '-')}"
        values = [
            *(tenant_id, as_text(name), f"deeplens_{tenant_id}", storage_uri, model.name, model.version),
            *(model.dimensions, placement.database_server, placement.qdrant_url),
        ]
        with self._connections.platform() as connection:
            connection.execute(INSERT, values)

    def _done(self, tenant_id: str, step: str) -> None:
        """Note a step of the creation; a tenant that is active already has none to show."""
        with self._connections.platform() as connection:
            connection.execute(DONE, [step, tenant_id])

    def _row(self, tenant_id: str) -> dict[str, Any]:
        with self._connections.platform() as connection:
            row = connection.execute(f"{TENANTS} WHERE t.id = %s", [tenant_id]).fetchone()
        if row is None:
            raise TenantNotFound(f"no tenant {tenant_id}")
        return row

    def _activate(self, tenant_id: str, version: str) -> None:
        with self._connections.platform() as connection:
            connection.execute(
                "UPDATE tenants SET schema_version = %s, "
                "status = CASE status WHEN 'provisioning' THEN 'active' ELSE status END WHERE id = %s",
                [version, tenant_id],
            )


def create_database(server_url: str, name: str) -> None:
    """Create a database unless it is there."""
    with translated(), connect(server_url) as connection:
        try:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            # Two runs at the same time: the other one made it.
            return


def migrate_platform(database_url: str) -> str:
    """The newest schema, and the built-in models in it, closed to tenants' roles; returns its version."""
    version = migrate.upgrade(database_url, "platform")
    roles.seal(database_url)
    with translated(), connect(database_url) as connection:
        for profile in BUILT_IN_MODELS:
            connection.execute(REGISTER, model_row(profile))
    return version


def upgrade(place: Place, key: str) -> str:
    """Bring a tenant's database to the newest schema and its role to the present key and privileges."""
    roles.seal(place.server_url)
    version = migrate.upgrade(place.url, "tenant")
    roles.admit(place.url, place.database, key)
    return version


def migrate_tenants(
    connections: Connections, done: Callable[[Migrated], None], *, every: bool = False
) -> list[Migrated]:
    """Bring every tenant's database to the newest schema, and its role to the present key and privileges.

    Databases that are there already are not even opened. A run that was interrupted, or met a database that was away,
    goes on where it stopped when it is repeated.

    Parameters
    ----------
    done : called for each tenant as it ends, from several threads.
    every : also those that are there already, as somebody may have changed a role by hand.
    """

    def one(place: Place) -> Migrated:
        try:
            result = Migrated(place.id, upgrade(place, connections.tenant_key))
            _record_version(connections, result)
        except Exception as error:
            reason = error.__cause__ or error
            result = Migrated(place.id, "", f"{type(reason).__name__}: {reason}"[:300])
        done(result)
        return result

    with ThreadPoolExecutor(MIGRATIONS_AT_ONCE, thread_name_prefix="migrate") as workers:
        return list(workers.map(one, list(behind(connections, every=every))))


def behind(connections: Connections, *, every: bool = False) -> Iterator[Place]:
    """Tenants whose recorded schema is not the newest, or whose role has another key or other privileges; or all."""
    with connections.platform() as connection:
        rows = connection.execute(f"{TENANTS} WHERE t.status IN ('active', 'suspended') ORDER BY t.id").fetchall()
    places = [place_of(row, connections) for row in rows]
    known = {server: _marks(server) for server in {place.server_url for place in places}}
    for place in places:
        mark = roles.mark_of(place.database, connections.tenant_key)
        if every or place.version != migrate.head("tenant") or known[place.server_url].get(place.database) != mark:
            yield place


def place_of(row: dict[str, Any], connections: Connections) -> Place:
    """A row of ``tenants``; without a server of its own, it is the platform's."""
    server = row["database_server"] or connections.platform_url
    return Place(row["id"], server, row["database_name"], row["schema_version"])


def _marks(server_url: str) -> dict[str, str]:
    """What the server's roles say; of one that is away nothing, so that its tenants are tried and reported."""
    try:
        return roles.marks(server_url)
    except DatabaseUnavailable:
        return {}


def _record_version(connections: Connections, result: Migrated) -> None:
    with connections.platform() as connection:
        connection.execute("UPDATE tenants SET schema_version = %s WHERE id = %s", [result.version, result.tenant_id])
