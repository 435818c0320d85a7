"""A PostgreSQL of its own for these tests, with a migrated tenant database to copy."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryDirectory

import pytest
from deeplens.database import migrate, roles
from deeplens.database.connections import Connections, connect
from deeplens.database.credentials import database_url, tenant_url
from deeplens.embedding.built_in import BUILT_IN_MODELS
from deeplens.embedding.postgres import REGISTER, model_row
from deeplens.provisioning import provision as tenants
from deeplens.tenants.model import Tenant

from local.services.postgres import PostgresService

TEMPLATE = "deeplens_template"
TENANT_KEY = "a key of at least thirty-two characters"
_numbers = itertools.count(1)

type NewTenant = Callable[[], Tenant]


def _roomy_memory() -> str | None:
    """Memory as a disk, where there is enough: hundreds of databases are gigabytes of files."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and disk_usage(memory).free > 8 << 30 else None


@contextmanager
def running_postgres(pytestconfig: pytest.Config) -> Iterator[PostgresService]:
    # Not below pytest's folder: another run of pytest closes that to the user whom PostgreSQL runs as.
    with TemporaryDirectory(prefix="deeplens-postgres-", dir=_roomy_memory()) as name:
        folder = Path(name)
        service = PostgresService(0, folder, pytestconfig.rootpath / ".tools", folder, max_connections=100)
        service.start()
        try:
            yield service
        finally:
            service.stop()


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config) -> Iterator[PostgresService]:
    with running_postgres(pytestconfig) as service:
        yield service


@pytest.fixture
def own_server(pytestconfig: pytest.Config) -> Iterator[PostgresService]:
    """A server that a test may stop, kill and fill."""
    with running_postgres(pytestconfig) as service:
        yield service


@pytest.fixture(scope="session")
def platform_url(server: PostgresService) -> str:
    url = server.environment["DATABASE_URL"]
    tenants.migrate_platform(url)
    tenants.create_database(url, TEMPLATE)
    migrate.upgrade(database_url(url, TEMPLATE), "tenant")
    return url


@pytest.fixture
def connections(platform_url: str) -> Iterator[Connections]:
    opened = Connections(platform_url, tenant_key=TENANT_KEY)
    yield opened
    opened.close()


@pytest.fixture
def new_tenant(platform_url: str) -> NewTenant:
    return lambda: copied_tenant(platform_url, f"tenant_t{next(_numbers)}")


@pytest.fixture
def tenant(new_tenant: NewTenant) -> Tenant:
    return new_tenant()


def copied_tenant(platform_url: str, tenant_id: str) -> Tenant:
    """An active tenant whose database is a copy of the migrated template, opened with its own role."""
    name, profile = f"deeplens_{tenant_id}", BUILT_IN_MODELS[0]
    with connect(platform_url) as connection:
        connection.execute(REGISTER, model_row(profile))
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
        connection.execute(
            "INSERT INTO tenants (id, name, status, database_name, storage_uri, model_name, model_version, "
            "model_dimensions, schema_version) "
            "VALUES (%s, 'A tenant', 'active', %s, %s, 'deeplens-visual', '1', 512, %s)",
            [tenant_id, name, f"nfs://{tenant_id}", migrate.head("tenant")],
        )
    roles.admit(database_url(platform_url, name), name, TENANT_KEY)
    url = tenant_url(platform_url, name, TENANT_KEY)
    return Tenant(
        tenant_id, "A tenant", "active", url, f"nfs://{tenant_id}", "http://qdrant", profile.ref, profile.thresholds
    )
