"""Connections of one execution environment: few, replaced when they break, never shared between tenants."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import psycopg
import pytest
from deeplens.database import connections as module
from deeplens.database import migrate, roles
from deeplens.database.connections import Connections
from deeplens.database.credentials import database_url
from deeplens.errors import DatabaseUnavailable, TenantNotFound
from deeplens.images.postgres import PostgresImages
from deeplens.provisioning import provision as tenants
from deeplens.tenants.directory import PostgresDirectory
from deeplens.tenants.model import Tenant

from local.operations import migrations
from local.services.postgres import PostgresService
from tests.integration.conftest import TENANT_KEY, NewTenant


def database_of(connections: Connections, tenant: Tenant) -> str:
    with connections.tenant(tenant) as connection:
        row = connection.execute("SELECT current_database() AS name, pg_sleep(0.002)").fetchone()
    assert row is not None
    return str(row["name"])


def test_threads_on_more_tenants_than_connections_each_reach_their_own(
    platform_url: str, new_tenant: NewTenant
) -> None:
    connections = Connections(platform_url, limit=2)
    everyone = [new_tenant() for _ in range(5)]
    with ThreadPoolExecutor(8) as workers:
        names = list(workers.map(lambda n: database_of(connections, everyone[n % 5]), range(100)))
    assert names == [f"deeplens_{everyone[n % 5].id}" for n in range(100)]
    assert connections.open_tenants() == 2
    connections.close()


def test_the_limit_holds_while_every_connection_is_in_use(
    platform_url: str, new_tenant: NewTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POOL_TIMEOUT_SECONDS", 0.05)
    connections, first, second = Connections(platform_url, limit=1), new_tenant(), new_tenant()
    with connections.tenant(first), ThreadPoolExecutor(1) as other:
        with pytest.raises(DatabaseUnavailable):
            other.submit(database_of, connections, second).result()
        assert connections.open_tenants() == 1
    assert database_of(connections, second) == f"deeplens_{second.id}"
    connections.close()


def test_the_least_recently_used_tenant_is_closed_first(platform_url: str, new_tenant: NewTenant) -> None:
    connections, (a, b, c) = Connections(platform_url, limit=2), [new_tenant() for _ in range(3)]
    backends = {}
    for tenant in (a, b, a, c):
        with connections.tenant(tenant) as connection:
            backends[tenant.id] = connection.info.backend_pid
    with connections.tenant(a) as connection:
        assert connection.info.backend_pid == backends[a.id]
    with connections.tenant(b) as connection:
        assert connection.info.backend_pid != backends[b.id]
    connections.close()


def test_connections_unused_for_a_minute_are_closed(platform_url: str, new_tenant: NewTenant) -> None:
    now = [0.0]
    connections = Connections(platform_url, monotonic=lambda: now[0])
    database_of(connections, new_tenant())
    now[0] = 61.0
    with connections.platform():
        assert connections.open_tenants() == 0
    connections.close()


def test_a_connection_that_the_server_closed_is_replaced_unnoticed(connections: Connections, tenant: Tenant) -> None:
    database_of(connections, tenant)
    with connections.platform() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [f"deeplens_{tenant.id}"]
        )
    assert database_of(connections, tenant) == f"deeplens_{tenant.id}"


def test_a_statement_that_fails_leaves_the_connection_usable(connections: Connections, tenant: Tenant) -> None:
    def fails() -> None:
        with connections.tenant(tenant) as connection, connection.transaction():
            connection.execute("SELECT 1/0")

    with pytest.raises(psycopg.errors.DivisionByZero):
        fails()
    assert database_of(connections, tenant) == f"deeplens_{tenant.id}"


def test_a_connection_given_back_in_mid_transaction_is_not_used_again(connections: Connections, tenant: Tenant) -> None:
    with connections.tenant(tenant) as connection:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO deleted_images (image_id, deleted_at) VALUES ('img_half_done', now())")
    with ExitStack() as stack:
        again = stack.enter_context(connections.tenant(tenant))
        row = again.execute("SELECT count(*) AS half_done FROM deleted_images").fetchone()
    assert row == {"half_done": 0}


def test_a_statement_that_takes_too_long_counts_as_an_unavailable_database(
    connections: Connections, tenant: Tenant
) -> None:
    def slow() -> None:
        with connections.tenant(tenant) as connection:
            connection.execute("SET statement_timeout = '20ms'")
            connection.execute("SELECT pg_sleep(5)")

    with pytest.raises(DatabaseUnavailable):
        slow()


def test_a_restarted_server_is_used_again_at_once(own_server: PostgresService) -> None:
    url = own_server.environment["DATABASE_URL"]
    migrations.migrate_platform(url)
    tenants.create_database(url, "deeplens_tenant_a")
    migrate.upgrade(database_url(url, "deeplens_tenant_a"), "tenant")
    roles.admit(database_url(url, "deeplens_tenant_a"), "deeplens_tenant_a", TENANT_KEY)
    connections = Connections(url, tenant_key=TENANT_KEY)
    with connections.platform() as connection:
        connection.execute(
            "INSERT INTO tenants (id, name, status, database_name, storage_uri, model_name, model_version, "
            "model_dimensions) VALUES ('tenant_a', 'A', 'active', 'deeplens_tenant_a', 'nfs://a', 'm', '1', 512)"
        )
    tenant = PostgresDirectory(connections, "").get("tenant_a")
    images = PostgresImages(connections)
    assert images.find(tenant, ["img_a"]) == {}

    own_server.kill()
    assert _becomes_unavailable(lambda: images.find(tenant, ["img_a"]))
    with pytest.raises(DatabaseUnavailable):
        PostgresDirectory(connections, "").get("tenant_a")
    with pytest.raises(DatabaseUnavailable):
        migrate.upgrade(tenant.database_url, "tenant")

    own_server.start()
    assert images.find(tenant, ["img_a"]) == {}
    own_server.stop()
    own_server.start()
    assert images.find(tenant, ["img_a"]) == {}
    with pytest.raises(TenantNotFound):
        PostgresDirectory(connections, "").get("tenant_b")
    connections.close()


def _becomes_unavailable(call: Callable[[], object]) -> bool:
    """A killed server's sessions live on for a moment, until they notice."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            call()
        except DatabaseUnavailable:
            return True
    return False


def test_without_a_database_url_the_database_is_unavailable() -> None:
    with pytest.raises(DatabaseUnavailable, match="DATABASE_URL"), Connections("").platform():
        pass
