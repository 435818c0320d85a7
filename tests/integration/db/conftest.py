"""A PostgreSQL of its own for these tests, with a migrated tenant database to copy."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deeplens import tenants
from deeplens.db import migrate
from deeplens.db.connections import Connections, connect
from deeplens.db.directory import database_url
from deeplens.domain import ModelRef, Tenant

from local.services.postgres import PostgresService

TEMPLATE = "deeplens_template"
_numbers = itertools.count(1)

type NewTenant = Callable[[], Tenant]


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresService]:
    folder = tmp_path_factory.mktemp("postgres")
    service = PostgresService(0, folder, pytestconfig.rootpath / ".tools", folder, max_connections=100)
    service.start()
    yield service
    service.stop()


@pytest.fixture(scope="session")
def platform_url(server: PostgresService) -> str:
    url = server.environment["DATABASE_URL"]
    tenants.migrate_platform(url)
    tenants.create_database(url, TEMPLATE)
    migrate.upgrade(database_url(url, TEMPLATE), "tenant")
    return url


@pytest.fixture
def connections(platform_url: str) -> Iterator[Connections]:
    opened = Connections(platform_url)
    yield opened
    opened.close()


@pytest.fixture
def new_tenant(platform_url: str) -> NewTenant:
    return lambda: copied_tenant(platform_url, f"tenant_t{next(_numbers)}")


@pytest.fixture
def tenant(new_tenant: NewTenant) -> Tenant:
    return new_tenant()


def copied_tenant(platform_url: str, tenant_id: str) -> Tenant:
    """An active tenant whose database is a copy of the migrated template."""
    name = f"deeplens_{tenant_id}"
    with connect(platform_url) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
        connection.execute(
            "INSERT INTO tenants (id, name, status, database_name, storage_uri, model_name, model_version, "
            "model_dimensions, schema_version) "
            "VALUES (%s, 'A tenant', 'active', %s, %s, 'deeplens-visual', '1', 512, %s)",
            [tenant_id, name, f"nfs://{tenant_id}", migrate.head("tenant")],
        )
    model = ModelRef("deeplens-visual", "1", 512)
    url = database_url(platform_url, name)
    return Tenant(tenant_id, "A tenant", "active", url, f"nfs://{tenant_id}", "http://qdrant", model)


@pytest.fixture
def own_server(pytestconfig: pytest.Config, tmp_path: Path) -> Iterator[PostgresService]:
    """A server that a test may stop and kill."""
    service = PostgresService(0, tmp_path, pytestconfig.rootpath / ".tools", tmp_path, max_connections=20)
    service.start()
    yield service
    service.stop()
