"""Migrations, of one database and of hundreds."""

from concurrent.futures import ThreadPoolExecutor
from io import StringIO

import psycopg
import pytest
from alembic import command
from deeplens.database import migrate
from deeplens.database.connections import Connections, connect
from deeplens.database.credentials import database_url
from deeplens.images.model import ImageRecord
from deeplens.images.postgres import PostgresImages
from deeplens.provisioning import provision as tenants
from deeplens.tenants.directory import PostgresDirectory

from local.operations import migrations
from local.services.postgres import PostgresService
from tests.integration.conftest import TENANT_KEY
from tests.integration.images.test_postgres import new_image


@pytest.fixture
def fleet(own_server: PostgresService) -> str:
    """The platform database of a server that takes at most 100 connections."""
    url = own_server.environment["DATABASE_URL"]
    migrations.migrate_platform(url)
    return url


def add_tenants(platform_url: str, count: int) -> list[str]:
    """Active tenants with empty databases, as if their schema came later than they."""
    ids = [f"tenant_{n:03}" for n in range(count)]
    with connect(platform_url) as connection:
        for tenant_id in ids:
            connection.execute(f"CREATE DATABASE deeplens_{tenant_id}")
            connection.execute(
                "INSERT INTO tenants (id, name, status, database_name, storage_uri, model_name, model_version, "
                "model_dimensions) VALUES (%s, 'T', 'active', %s, %s, 'm', '1', 512)",
                [tenant_id, f"deeplens_{tenant_id}", f"nfs://{tenant_id}"],
            )
    return ids


def tables(url: str) -> set[str]:
    with connect(url) as connection:
        found = connection.execute("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'").fetchall()
    return {row["name"] for row in found}


def recorded_versions(platform_url: str) -> dict[str, str | None]:
    with connect(platform_url) as connection:
        found = connection.execute("SELECT id, schema_version FROM tenants").fetchall()
    return {row["id"]: row["schema_version"] for row in found}


def test_stored_clients_of_tenants_ask_for_consent_again(platform_url: str) -> None:
    url = database_url(platform_url, "deeplens_consent")
    tenants.create_database(platform_url, "deeplens_consent")
    config = migrate._config("platform")
    config.output_buffer = StringIO()
    command.upgrade(config, "base:0014", sql=True)
    with connect(url) as connection:
        connection.execute(config.output_buffer.getvalue().encode())
        connection.execute(
            "INSERT INTO tenants (id, name, database_name, storage_uri, model_name, model_version, model_dimensions) "
            "VALUES ('tenant_a', 'A', 'deeplens_tenant_a', 'nfs://tenant-a', 'm', '1', 512)"
        )
        for client, owner in (("of-tenant", "tenant_a"), ("of-platform", None)):
            connection.execute(
                "INSERT INTO nextgen_identity.clients (id, tenant_id, name, redirect_uris, post_logout_redirect_uris, "
                "grants, scopes, needs_consent) VALUES (%s, %s, 'App', '{}', '{}', '{}', '{}', false)",
                [client, owner],
            )
    migrate.upgrade(url, "platform")
    with connect(url) as connection:
        rows = connection.execute("SELECT id, needs_consent FROM nextgen_identity.clients").fetchall()
    assert {row["id"]: row["needs_consent"] for row in rows} == {"of-tenant": True, "of-platform": False}


def test_migrating_twice_or_twice_at_once_is_fine(platform_url: str) -> None:
    url = database_url(platform_url, "deeplens_at_once")
    tenants.create_database(platform_url, "deeplens_at_once")
    with ThreadPoolExecutor(4) as workers:
        versions = list(workers.map(lambda _: migrate.upgrade(url, "tenant"), range(8)))
    assert set(versions) == {migrate.head("tenant")}
    assert {"images", "videos", "alembic_version"} <= tables(url)


@pytest.mark.parametrize("revision", ["0001", "9999"])
def test_a_database_of_a_version_that_is_unknown_here_stays_as_it_is(platform_url: str, revision: str) -> None:
    name = f"deeplens_at_{revision}"
    tenants.create_database(platform_url, name)
    url = database_url(platform_url, name)
    with connect(url) as connection:
        connection.execute("CREATE TABLE alembic_version AS SELECT %s AS version_num", [revision])
    with pytest.raises(migrate.UnknownRevision, match=f"at revision {revision}.*continues from 0007"):
        migrate.upgrade(url, "tenant")
    assert tables(url) == {"alembic_version"}


def test_a_migration_that_fails_leaves_the_database_as_it_was(
    platform_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = database_url(platform_url, "deeplens_half")
    tenants.create_database(platform_url, "deeplens_half")
    whole = migrate.script("tenant", "base")
    monkeypatch.setattr(migrate, "script", lambda tree, start: whole + b"SELECT 1/0;")
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate.upgrade(url, "tenant")
    assert tables(url) == set()


def test_more_tenants_than_the_server_has_connections_are_migrated_and_served(fleet: str) -> None:
    ids = add_tenants(fleet, 110)
    connections = Connections(fleet, tenant_key=TENANT_KEY)
    migrated: list[migrations.Migrated] = []
    migrations.migrate_tenants(connections, migrated.append)
    assert {(migration.tenant_id, migration.error) for migration in migrated} == {
        (tenant_id, None) for tenant_id in ids
    }
    assert recorded_versions(fleet) == dict.fromkeys(ids, migrate.head("tenant"))

    directory, images = PostgresDirectory(connections, ""), PostgresImages(connections)
    for tenant_id in ids:
        images.insert(directory.get(tenant_id), new_image("img_shared", file_name=f"{tenant_id}.jpg"))
        assert connections.open_tenants() <= 4

    def name_of(tenant_id: str) -> str:
        row = images.find(directory.get(tenant_id), ["img_shared"])["img_shared"]
        assert isinstance(row, ImageRecord)
        return row.file_name

    with ThreadPoolExecutor(8) as workers:
        names = list(workers.map(name_of, reversed(ids)))
    assert names == [f"{tenant_id}.jpg" for tenant_id in reversed(ids)]
    connections.close()


def test_an_interrupted_migration_goes_on_where_it_stopped(fleet: str) -> None:
    ids = add_tenants(fleet, 12)
    with connect(fleet) as connection:
        connection.execute(f"DROP DATABASE deeplens_{ids[5]}")
    connections = Connections(fleet, tenant_key=TENANT_KEY)
    first = migrations.migrate_tenants(connections, lambda one: None)
    assert [(one.tenant_id, "does not exist" in (one.error or "")) for one in first if one.error] == [(ids[5], True)]
    assert recorded_versions(fleet)[ids[5]] is None

    tenants.create_database(fleet, f"deeplens_{ids[5]}")
    again: list[str] = []
    migrations.migrate_tenants(connections, lambda one: again.append(one.tenant_id))
    assert again == [ids[5]]
    assert set(recorded_versions(fleet).values()) == {migrate.head("tenant")}
    assert migrations.migrate_tenants(connections, lambda one: None) == []
    connections.close()
