"""A tenant's role opens its own database for reading and writing rows, and nothing else on the server."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import psycopg
import pytest
from deeplens.database import migrate, roles
from deeplens.database.connections import Connections, connect
from deeplens.database.credentials import database_url, password_of, tenant_url
from deeplens.errors import DatabaseUnavailable
from deeplens.images.postgres import PostgresImages
from deeplens.provisioning import provision as tenants
from deeplens.provisioning.provision import Provisioning
from deeplens.tenants.directory import PostgresDirectory
from deeplens.tenants.model import Tenant

from local.operations import migrations
from tests.integration.conftest import TENANT_KEY, NewTenant
from tests.integration.images.test_postgres import new_image
from tests.integration.provisioning.test_provision import QDRANT, Outside

OTHER_KEY = "another key of at least thirty-two characters"
_numbers = count(1)


def role_of(tenant: Tenant) -> str:
    return f"deeplens_{tenant.id}"


def run(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def provisioning(connections: Connections) -> Provisioning:
    outside = Outside()
    return Provisioning(connections, outside, outside, QDRANT)  # type: ignore[arg-type]


@pytest.fixture
def rotated(platform_url: str) -> Iterator[Connections]:
    """Connections with a changed key."""
    opened = Connections(platform_url, tenant_key=OTHER_KEY)
    yield opened
    opened.close()


class TestOtherDatabases:
    @pytest.mark.parametrize("database", ["deeplens_platform", "postgres", "template1"])
    def test_a_tenants_role_may_not_connect_to_the_servers_own(self, tenant: Tenant, database: str) -> None:
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            run(database_url(tenant.database_url, database), "SELECT 1")

    def test_a_tenants_role_may_not_connect_to_another_tenants(self, new_tenant: NewTenant) -> None:
        a, b = new_tenant(), new_tenant()
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            run(database_url(a.database_url, role_of(b)), "SELECT 1")

    def test_a_tenants_password_opens_no_other_role(self, platform_url: str, new_tenant: NewTenant) -> None:
        a, b = new_tenant(), new_tenant()
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            run(a.database_url.replace(f"//{role_of(a)}:", f"//{role_of(b)}:"), "SELECT 1")

    @pytest.mark.parametrize("password", ["", ":wrong", f":{password_of('deeplens_tenant_x', TENANT_KEY)}"])
    def test_without_its_password_a_role_opens_nothing(self, tenant: Tenant, password: str) -> None:
        own = f":{password_of(role_of(tenant), TENANT_KEY)}"
        with pytest.raises(psycopg.OperationalError, match="password"):
            run(tenant.database_url.replace(own, password), "SELECT 1")

    @pytest.mark.parametrize("other", ["{other}", "deeplens"])
    def test_a_tenants_role_cannot_become_another(self, new_tenant: NewTenant, other: str) -> None:
        name = other.format(other=role_of(new_tenant()))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            run(new_tenant().database_url, f"SET ROLE {name}")


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (id int)",
        "CREATE TEMP TABLE mine (id int)",
        "CREATE SCHEMA mine",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE FOREIGN DATA WRAPPER mine",
        "CREATE DATABASE mine",
        "CREATE ROLE mine",
        "ALTER TABLE images ADD COLUMN mine int",
        "ALTER ROLE CURRENT_USER SUPERUSER",
        "ALTER ROLE CURRENT_USER CONNECTION LIMIT -1",
        "CREATE INDEX ON images (width)",
        "DROP TABLE images",
        "TRUNCATE images CASCADE",
        "COPY images TO '/tmp/images'",
        "COPY images FROM PROGRAM 'id'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT rolpassword FROM pg_authid",
        "UPDATE alembic_version SET version_num = '0'",
        "SELECT * FROM alembic_version",
        "UPDATE image_events SET stage = 'forged'",
        "DELETE FROM image_events",
        "GRANT SELECT ON images TO PUBLIC WITH GRANT OPTION",
    ],
)
def test_what_no_function_needs_is_refused(tenant: Tenant, statement: str) -> None:
    with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidGrantOperation)):
        run(tenant.database_url, statement)


def test_a_granted_privilege_cannot_be_passed_on(platform_url: str, tenant: Tenant) -> None:
    run(tenant.database_url, "GRANT SELECT ON images TO PUBLIC")  # a warning, as PostgreSQL has it
    admins = database_url(platform_url, role_of(tenant))
    assert run(admins, "SELECT has_table_privilege('public', 'images', 'SELECT')") == [(False,)]


def test_an_images_entries_go_with_it_though_nobody_may_delete_one(connections: Connections, tenant: Tenant) -> None:
    PostgresImages(connections).insert(tenant, new_image())
    run(tenant.database_url, "DELETE FROM images")
    assert run(tenant.database_url, "SELECT count(*) FROM image_events") == [(0,)]


def test_a_role_owns_nothing_and_can_nothing_on_the_server(platform_url: str, tenant: Tenant) -> None:
    attributes = (
        "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, rolinherit, rolcanlogin, "
        f"rolconnlimit FROM pg_roles WHERE rolname = '{role_of(tenant)}'"
    )
    assert run(platform_url, attributes) == [(False, False, False, False, False, False, True, roles.CONNECTION_LIMIT)]
    owned = f"SELECT count(*) FROM pg_class WHERE pg_get_userbyid(relowner) = '{role_of(tenant)}'"
    assert run(database_url(platform_url, role_of(tenant)), owned) == [(0,)]


def test_the_server_never_learns_a_password(platform_url: str, tenant: Tenant) -> None:
    stored = run(platform_url, f"SELECT rolpassword FROM pg_authid WHERE rolname = '{role_of(tenant)}'")
    assert str(stored[0][0]).startswith("SCRAM-SHA-256$")
    assert password_of(role_of(tenant), TENANT_KEY) not in repr(tenant)


def test_what_a_later_migration_makes_is_open_to_the_role(platform_url: str, tenant: Tenant) -> None:
    admins = database_url(platform_url, role_of(tenant))
    run(admins, "CREATE TABLE later (id serial PRIMARY KEY, n int)")
    assert run(tenant.database_url, "INSERT INTO later (n) VALUES (1) RETURNING id") == [(1,)]
    run(tenant.database_url, "UPDATE later SET n = 2")
    assert run(tenant.database_url, "DELETE FROM later RETURNING n") == [(2,)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        run(tenant.database_url, "DROP TABLE later")


def test_provisioning_many_times_at_once_makes_one_role_that_works(connections: Connections, platform_url: str) -> None:
    tenant_id = f"tenant_at_once_{next(_numbers)}"
    every = [Connections(platform_url, tenant_key=TENANT_KEY) for _ in range(6)]
    with ThreadPoolExecutor(6) as workers:
        made = list(workers.map(lambda own: provisioning(own).provision(tenant_id, "At once"), every))
    assert made == [made[0]] * 6
    assert set(PostgresImages(connections).find(made[0], ["img_a"])) == set()
    for own in every:
        own.close()


def test_a_crash_half_way_leaves_no_half_role(
    platform_url: str, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant_id = f"tenant_crash_{next(_numbers)}"
    with monkeypatch.context() as patch:
        patch.setattr(roles, "GRANTS", (*roles.GRANTS[:4], "SELECT 1/0"))
        with pytest.raises(psycopg.errors.DivisionByZero):
            provisioning(connections).provision(tenant_id, "Crash")
    assert f"deeplens_{tenant_id}" not in roles.marks(platform_url)
    tenant = provisioning(connections).provision(tenant_id, "Crash")
    assert PostgresImages(connections).find(tenant, ["img_a"]) == {}


def test_a_run_at_the_same_time_as_another_ones_role_is_there(platform_url: str, new_tenant: NewTenant) -> None:
    everyone = [new_tenant() for _ in range(4)]
    work: list[Callable[[], None]] = [
        lambda one=one: roles.admit(database_url(platform_url, role_of(one)), role_of(one), TENANT_KEY)  # type: ignore[misc]
        for one in everyone * 8
    ]
    with ThreadPoolExecutor(8) as workers:
        assert list(workers.map(lambda do: do(), work)) == [None] * 32


def test_a_run_over_all_applies_every_role_again(connections: Connections, platform_url: str, tenant: Tenant) -> None:
    run(platform_url, f"ALTER ROLE {role_of(tenant)} NOLOGIN")
    assert tenant.id not in {
        migration.tenant_id for migration in migrations.migrate_tenants(connections, lambda _: None)
    }
    assert tenant.id in {
        migration.tenant_id for migration in migrations.migrate_tenants(connections, lambda _: None, every=True)
    }
    assert run(tenant.database_url, "SELECT count(*) FROM images") == [(0,)]


class TestChangedKey:
    def test_it_opens_nothing_until_a_migrate_run_and_the_old_one_nothing_after(
        self, connections: Connections, rotated: Connections, tenant: Tenant
    ) -> None:
        changed = PostgresDirectory(rotated, QDRANT).get(tenant.id)
        with pytest.raises(DatabaseUnavailable):
            PostgresImages(rotated).find(changed, ["img_a"])
        assert PostgresImages(connections).find(tenant, ["img_a"]) == {}

        assert tenant.id in {database.id for database in migrations.databases_to_migrate(rotated)}
        done = migrations.migrate_tenants(rotated, lambda _: None)
        assert (tenant.id, None) in {(one.tenant_id, one.error) for one in done}
        assert migrations.migrate_tenants(rotated, lambda _: None) == []

        assert PostgresImages(rotated).find(changed, ["img_a"]) == {}
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            run(tenant.database_url, "SELECT 1")
        migrations.migrate_tenants(connections, lambda _: None)

    def test_provisioning_again_applies_it_as_well(self, connections: Connections, rotated: Connections) -> None:
        tenant_id = f"tenant_rotated_{next(_numbers)}"
        provisioning(connections).provision(tenant_id, "Rotated")
        changed = provisioning(rotated).provision(tenant_id, "Rotated")
        assert PostgresImages(rotated).find(changed, ["img_a"]) == {}
        provisioning(connections).provision(tenant_id, "Rotated")


@pytest.mark.parametrize(
    "loosened",
    [
        "ALTER ROLE {role} SUPERUSER CREATEDB CREATEROLE",
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
        "GRANT CONNECT ON DATABASE {role} TO PUBLIC",
        "GRANT CREATE ON SCHEMA public TO PUBLIC",
        "ALTER ROLE {role} NOLOGIN PASSWORD NULL CONNECTION LIMIT 0",
    ],
)
def test_whatever_was_changed_by_hand_is_put_right_again(
    platform_url: str, new_tenant: NewTenant, loosened: str
) -> None:
    a, b = new_tenant(), new_tenant()
    admins = database_url(platform_url, role_of(a))
    run(admins, loosened.format(role=role_of(a)))
    roles.admit(admins, role_of(a), TENANT_KEY)
    assert run(a.database_url, "SELECT count(*) FROM images") == [(0,)]
    test_a_role_owns_nothing_and_can_nothing_on_the_server(platform_url, a)
    for statement in ("CREATE TABLE mine (id int)", "TRUNCATE image_models", "DELETE FROM image_events"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            run(a.database_url, statement)
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        run(database_url(b.database_url, role_of(a)), "SELECT 1")


def test_a_server_opened_by_hand_is_sealed_again(platform_url: str, tenant: Tenant) -> None:
    for name in ("deeplens_platform", "postgres", "template1"):
        run(platform_url, f"GRANT CONNECT ON DATABASE {name} TO PUBLIC")
    with ThreadPoolExecutor(4) as workers:
        list(workers.map(lambda _: roles.seal(platform_url), range(8)))
    for name in ("deeplens_platform", "postgres", "template1"):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            run(database_url(tenant.database_url, name), "SELECT 1")


def test_the_administrator_is_no_tenant(platform_url: str) -> None:
    tenants.create_database(platform_url, "deeplens")
    with pytest.raises(ValueError, match="administers"):
        roles.admit(database_url(platform_url, "deeplens"), "deeplens", TENANT_KEY)


def test_a_server_that_is_away_leaves_the_others_to_be_migrated(
    connections: Connections, new_tenant: NewTenant
) -> None:
    away, here = new_tenant(), new_tenant()
    with connections.platform() as connection:
        connection.execute(
            "UPDATE tenants SET database_server = 'postgresql://u:p@127.0.0.1:9/postgres' WHERE id = %s", [away.id]
        )
        connection.execute("UPDATE tenants SET schema_version = '0001' WHERE id = %s", [here.id])
    done = {
        migration.tenant_id: migration.error for migration in migrations.migrate_tenants(connections, lambda _: None)
    }
    with connections.platform() as connection:
        connection.execute("UPDATE tenants SET database_server = NULL WHERE id = %s", [away.id])
    assert done[here.id] is None
    assert "OperationalError" in (done[away.id] or "")
    assert PostgresImages(connections).find(here, ["img_a"]) == {}


def test_an_administrator_needs_no_superuser(platform_url: str) -> None:
    run(platform_url, "CREATE ROLE operator LOGIN CREATEDB CREATEROLE PASSWORD 'operators'")
    run(platform_url, "CREATE DATABASE operators_platform OWNER operator")
    split = platform_url.replace("deeplens@", "operator:operators@").replace("deeplens_platform", "operators_platform")
    roles.seal(split)
    tenants.create_database(split, "deeplens_tenant_op")
    place = tenants.TenantDatabase("tenant_op", split, "deeplens_tenant_op", None)
    for key in (TENANT_KEY, OTHER_KEY):
        assert tenants.upgrade(place, key) == migrate.head("tenant")
        url = tenant_url(split, "deeplens_tenant_op", key)
        assert run(url, "SELECT count(*) FROM images") == [(0,)]
        for name in ("operators_platform", "deeplens_platform", "postgres"):
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                run(database_url(url, name), "SELECT 1")
    with connect(url) as open_session:
        roles.drop_role(split, "deeplens_tenant_op")
        with pytest.raises(psycopg.OperationalError):
            open_session.execute("SELECT 1")
    assert "deeplens_tenant_op" not in roles.marks(split)


class TestDroppedRole:
    def test_it_ends_its_sessions_and_leaves_the_database(
        self, platform_url: str, connections: Connections, tenant: Tenant
    ) -> None:
        PostgresImages(connections).insert(tenant, new_image())
        with connect(tenant.database_url) as open_session:
            roles.drop_role(platform_url, role_of(tenant))
            with pytest.raises(psycopg.OperationalError):
                open_session.execute("SELECT 1")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            run(tenant.database_url, "SELECT 1")
        assert run(database_url(platform_url, role_of(tenant)), "SELECT count(*) FROM images") == [(1,)]
        roles.drop_role(platform_url, role_of(tenant))

    def test_its_database_may_be_gone_before_it(self, platform_url: str, tenant: Tenant) -> None:
        run(platform_url, f"DROP DATABASE {role_of(tenant)} WITH (FORCE)")
        roles.drop_role(platform_url, role_of(tenant))
        assert role_of(tenant) not in roles.marks(platform_url)

    def test_it_can_come_back(self, platform_url: str, tenant: Tenant) -> None:
        roles.drop_role(platform_url, role_of(tenant))
        roles.admit(database_url(platform_url, role_of(tenant)), role_of(tenant), TENANT_KEY)
        assert run(tenant.database_url, "SELECT count(*) FROM images") == [(0,)]
        assert tenant.database_url == tenant_url(platform_url, role_of(tenant), TENANT_KEY)
