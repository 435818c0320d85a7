"""Migration of the platform's database and of every tenant's."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from deeplens.common.ports import SecretStore
from deeplens.database import migrate, platform_roles, roles
from deeplens.database.connections import Connections
from deeplens.database.credentials import split_credentials
from deeplens.embedding.model import BUILT_IN_MODELS
from deeplens.errors import DatabaseUnavailable
from deeplens.provisioning.provision import TenantDatabase, database_of, upgrade
from deeplens.provisioning.servers import keep_credentials
from deeplens.rollouts.postgres import PostgresRollouts
from deeplens.tenants.directory import TENANTS

PARALLEL_MIGRATIONS = 4
OWN_SERVERS = "SELECT id, status, database_server FROM tenants WHERE database_server IS NOT NULL ORDER BY id"
REPLACE_SERVER = "UPDATE tenants SET database_server = %s WHERE id = %s AND database_server = %s"
RECORD_VERSION = "UPDATE tenants SET schema_version = %s WHERE id = %s"


@dataclass(frozen=True, slots=True)
class Migrated:
    """The result of one tenant's migration; with an ``error`` it has to be repeated."""

    tenant_id: str
    version: str
    error: str | None = None


def migrate_platform(database_url: str, role_urls: Iterable[str] = ()) -> str:
    """Migrate the platform database, close it to tenants' roles, register the built-in models; returns the version.

    ``role_urls`` are its URLs with the credentials of the functions' roles, which are created and granted.
    """
    version = migrate.upgrade(database_url, "platform")
    roles.seal(database_url)
    if wanted := [*role_urls]:
        platform_roles.apply(database_url, wanted)
    connections = Connections(database_url)
    for profile in BUILT_IN_MODELS:
        PostgresRollouts(connections).register(profile)
    connections.close()
    return version


def migrate_tenants(
    connections: Connections, done: Callable[[Migrated], None], *, every: bool = False
) -> list[Migrated]:
    """Migrate every tenant's database, and update its role to the current key and privileges.

    Databases that are up to date are not opened. Repeat an interrupted run to continue it.

    Parameters
    ----------
    done : called for each tenant, from several threads.
    every : includes databases that are up to date, as a role may have been changed by hand.
    """

    def migrate_one(database: TenantDatabase) -> Migrated:
        try:
            result = Migrated(database.id, upgrade(database, connections.tenant_key))
            with connections.platform() as connection:
                connection.execute(RECORD_VERSION, [result.version, result.tenant_id])
        except Exception as error:
            reason = error.__cause__ or error
            result = Migrated(database.id, "", f"{type(reason).__name__}: {reason}"[:300])
        done(result)
        return result

    with ThreadPoolExecutor(PARALLEL_MIGRATIONS, thread_name_prefix="migrate") as workers:
        return list(workers.map(migrate_one, list(databases_to_migrate(connections, every=every))))


def databases_to_migrate(connections: Connections, *, every: bool = False) -> Iterator[TenantDatabase]:
    """Databases with an older schema, or with a role of another key or other privileges; or all."""
    with connections.platform() as connection:
        rows = connection.execute(f"{TENANTS} WHERE t.status IN ('active', 'suspended') ORDER BY t.id").fetchall()
    databases = [database_of(row, connections) for row in rows]
    known = {server: _marks(server) for server in {database.server_url for database in databases}}
    for database in databases:
        mark = roles.mark_of(database.name, connections.tenant_key)
        if every or database.version != migrate.head("tenant") or known[database.server_url].get(database.name) != mark:
            yield database


def _marks(server_url: str) -> dict[str, str]:
    """The marks of a server's roles; none of an unavailable server, so that its tenants are tried and reported."""
    try:
        return roles.marks(server_url)
    except DatabaseUnavailable:
        return {}


def move_credentials(connections: Connections, secret_store: SecretStore) -> list[str]:
    """Move credentials out of rows that older versions wrote; returns the tenants. Safe to repeat.

    Those of a deleted tenant are removed only.
    """
    moved = []
    with connections.platform() as connection:
        for row in connection.execute(OWN_SERVERS).fetchall():
            address, _ = split_credentials(url := row["database_server"])
            if address == url:
                continue
            if row["status"] != "deleted":
                keep_credentials(secret_store, row["id"], url)
            connection.execute(REPLACE_SERVER, [address, row["id"], url])
            moved.append(row["id"])
    return moved
