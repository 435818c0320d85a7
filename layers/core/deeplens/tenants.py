"""Provisioning tenants and moving their databases to the newest schema. Every step is safe to run again."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from deeplens.db import migrate
from deeplens.db.connections import Connections, connect, translated
from deeplens.db.directory import TENANTS, tenant_of
from deeplens.db.rollouts import REGISTER, model_row
from deeplens.domain import ModelProfile, ModelRef, Tenant, Thresholds
from deeplens.errors import TenantNotFound
from deeplens.limits import ResourceLimits
from deeplens.ports import StoreResolver, VectorIndex

BUILT_IN_MODEL = ModelRef("deeplens-visual", "2", 512)
BUILT_IN_MODELS = (
    ModelProfile(ModelRef("deeplens-visual", "1", 512), Thresholds(0.97, 0.62, 0.5)),
    ModelProfile(BUILT_IN_MODEL, Thresholds(0.97, 0.72, 0.55)),
)
"""What the endpoint's own manifests say, so that labels work before anything was asked of it."""
NAME = re.compile(r"tenant_[a-z0-9_]{0,39}[a-z0-9]")  # buckets end with a letter or digit
MIGRATIONS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Migrated:
    """One tenant's part of a migration run; ``error`` says why it has to be repeated."""

    tenant_id: str
    version: str
    error: str | None = None


class Provisioning:
    """Creates tenants: row, database, bucket, collection, in this order; the row becomes ``active`` at the end."""

    def __init__(self, connections: Connections, stores: StoreResolver, index: VectorIndex, qdrant_url: str) -> None:
        self._connections, self._stores, self._index, self._qdrant_url = connections, stores, index, qdrant_url

    def provision(self, tenant_id: str, name: str, scheme: str = "s3", model: ModelRef = BUILT_IN_MODEL) -> Tenant:
        """Create a tenant, or finish what an earlier run began.

        Parameters
        ----------
        scheme : of its store: ``s3``, ``minio`` or ``nfs``. The bucket is named after the tenant.

        Raises
        ------
        ValueError
            The id is not ``tenant_`` and lower-case letters, digits and underscores.
        TenantNotFound
            The tenant is being deleted.
        DatabaseUnavailable, StoreUnavailable, IndexUnavailable
            Run it again when the part is back.
        """
        if not NAME.fullmatch(tenant_id):
            raise ValueError(
                f"{tenant_id!r} is not a tenant id: use tenant_ and a-z, 0-9, _ (at most 40, the last no _)"
            )
        self._insert(tenant_id, name, f"{scheme}://{tenant_id.replace('_', '-')}", model)
        row = self._row(tenant_id)
        if row["status"] == "deleting":
            raise TenantNotFound(f"{tenant_id} is being deleted")
        tenant = tenant_of(row, self._connections.platform_url, self._qdrant_url)
        create_database(row["database_server"] or self._connections.platform_url, row["database_name"])
        version = migrate.upgrade(tenant.database_url, "tenant")
        self._stores.for_tenant(tenant).ensure()
        self._index.create_collection(tenant)
        self._activate(tenant_id, version)
        return tenant_of(self._row(tenant_id), self._connections.platform_url, self._qdrant_url)

    def _insert(self, tenant_id: str, name: str, storage_uri: str, model: ModelRef) -> None:
        with self._connections.platform() as connection:
            connection.execute(
                "INSERT INTO tenants (id, name, database_name, storage_uri, model_name, model_version, "
                "model_dimensions) VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (id) DO NOTHING",
                [tenant_id, name, f"deeplens_{tenant_id}", storage_uri, model.name, model.version, model.dimensions],
            )

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
    """The newest schema, and the built-in models in it; returns its version."""
    version = migrate.upgrade(database_url, "platform")
    with translated(), connect(database_url) as connection:
        for profile in BUILT_IN_MODELS:
            connection.execute(REGISTER, model_row(profile))
    return version


def migrate_tenants(connections: Connections, done: Callable[[Migrated], None]) -> list[Migrated]:
    """Bring every tenant's database to the newest schema; those that are there already are not even opened.

    A run that was interrupted, or met a database that was away, goes on where it stopped when it is repeated.

    Parameters
    ----------
    done : called for each tenant as it ends, from several threads.
    """

    def one(tenant: Tenant) -> Migrated:
        try:
            result = Migrated(tenant.id, migrate.upgrade(tenant.database_url, "tenant"))
            _record_version(connections, result)
        except Exception as error:
            reason = error.__cause__ or error
            result = Migrated(tenant.id, "", f"{type(reason).__name__}: {reason}"[:300])
        done(result)
        return result

    with ThreadPoolExecutor(MIGRATIONS_AT_ONCE, thread_name_prefix="migrate") as workers:
        return list(workers.map(one, list(behind(connections))))


def set_limits(connections: Connections, tenant_id: str, limits: ResourceLimits) -> None:
    """Replace a tenant's own limits; every process knows within ten seconds. What is stored already stays.

    Raises
    ------
    ValueError
        A limit is negative or not a whole number.
    TenantNotFound
    """
    limits.check()
    with connections.platform() as connection:
        statement = "UPDATE tenants SET limits = %s WHERE id = %s AND status NOT IN ('deleting', 'deleted')"
        if not connection.execute(statement, [Jsonb(limits.given()), tenant_id]).rowcount:
            raise TenantNotFound(f"no tenant {tenant_id}")


def behind(connections: Connections) -> Iterator[Tenant]:
    """Tenants whose recorded schema is not the newest."""
    with connections.platform() as connection:
        rows = connection.execute(
            f"{TENANTS} WHERE t.status IN ('active', 'suspended') AND t.schema_version IS DISTINCT FROM %s "
            "ORDER BY t.id",
            [migrate.head("tenant")],
        ).fetchall()
    for row in rows:
        yield tenant_of(row, connections.platform_url, "")


def _record_version(connections: Connections, result: Migrated) -> None:
    with connections.platform() as connection:
        connection.execute("UPDATE tenants SET schema_version = %s WHERE id = %s", [result.version, result.tenant_id])
