"""One LocalStack for these tests, and a PostgreSQL with a migrated tenant database to copy."""

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
from deeplens.embedding.model import BUILT_IN_MODELS
from deeplens.provisioning import provision as tenants
from deeplens.tenants.model import Tenant

from local.operations import migrations
from local.services.localstack import LocalStackService
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
        with connect(service.environment["DATABASE_URL"]) as connection:
            # Nothing here has to survive a power cut.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
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
    migrations.migrate_platform(url)
    tenants.create_database(url, TEMPLATE)
    migrate.upgrade(database_url(url, TEMPLATE), "tenant")
    return url


@pytest.fixture
def connections(platform_url: str) -> Iterator[Connections]:
    opened = Connections(platform_url, tenant_key=TENANT_KEY)
    yield opened
    opened.close()


@pytest.fixture
def new_tenant(platform_url: str) -> Iterator[NewTenant]:
    made: list[str] = []

    def new() -> Tenant:
        made.append(f"tenant_t{next(_numbers)}")
        return copied_tenant(platform_url, made[-1])

    yield new
    # A test that works on all tenants would otherwise work on those of every test before it. A database is 10 MB.
    with connect(platform_url) as connection:
        connection.execute("UPDATE tenants SET status = 'deleted' WHERE id = ANY(%s)", [made])
        for tenant_id in made:
            connection.execute(f"DROP DATABASE IF EXISTS deeplens_{tenant_id} WITH (FORCE)")


@pytest.fixture
def tenant(new_tenant: NewTenant) -> Tenant:
    return new_tenant()


def copied_tenant(platform_url: str, tenant_id: str) -> Tenant:
    """An active tenant whose database is a copy of the migrated template, opened with its own role."""
    name, profile = f"deeplens_{tenant_id}", BUILT_IN_MODELS[0]
    with connect(platform_url) as connection:
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


@pytest.fixture(scope="session")
def localstack(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[LocalStackService]:
    folder = tmp_path_factory.mktemp("localstack")
    service = LocalStackService(0, folder, pytestconfig.rootpath / ".tools", folder)
    with pytest.MonkeyPatch.context() as patch:
        # LocalStack looks at signatures only when told to.
        patch.setenv("S3_SKIP_SIGNATURE_VALIDATION", "0")
        service.start()
    yield service
    service.stop()
