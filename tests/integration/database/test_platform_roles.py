"""A role of the functions reads and writes the rows that they need in the platform database, and nothing else."""

from collections.abc import Iterator

import psycopg
import pytest
from deeplens.database import platform_roles
from deeplens.database.connections import connect
from deeplens.database.credentials import database_url, password_of, with_credentials
from deeplens.provisioning.provision import create_database

from local.operations.migrations import migrate_platform
from local.services.postgres import PostgresService
from tests.integration.conftest import TENANT_KEY, running_postgres

KEY = "a key that no function has, thirty-two characters"
ROLES = sorted(platform_roles.GRANTS)
USERS, KEYS, PUBLIC_KEYS = "nextgen_identity.users", "tenant_api_keys", "nextgen_identity.signing_keys"
REFUSED = (
    *("DROP TABLE tenants", "ALTER TABLE tenants ADD COLUMN mine int", "TRUNCATE pending_images"),
    *("CREATE TABLE mine (id int)", "CREATE TEMP TABLE mine (id int)", "CREATE SCHEMA mine", "CREATE DATABASE mine"),
    *("DROP SCHEMA nextgen_identity CASCADE", "CREATE INDEX ON tenants (name)", "CREATE ROLE mine"),
    *("DROP TRIGGER audit_log_append_only ON audit_log", "ALTER TABLE audit_log DISABLE TRIGGER ALL"),
    *("ALTER ROLE CURRENT_USER SUPERUSER", "SET ROLE deeplens", "SELECT rolpassword FROM pg_authid"),
    *("COPY tenants TO PROGRAM 'id'", "SELECT pg_read_file('/etc/passwd')", "SELECT * FROM alembic_version"),
    *("UPDATE alembic_version SET version_num = '0'", "UPDATE audit_log SET actor = 'me'", "DELETE FROM audit_log"),
)
OPEN = {
    "deeplens_decoders": {"tenants": "r", "models": "r", "pending_images": "rwd", "pending_videos": "rwd"},
    "deeplens_pipeline": {"tenants": "r", "models": "r", "pending_images": "rwd", "pending_videos": "rwd"}
    | {"dead_letters": "rwd"},
    "deeplens_search": {"tenants": "r", "models": "r", "pending_images": "rwd", "pending_videos": "rwd"}
    | {"dead_letters": "rwd", KEYS: "r", PUBLIC_KEYS: "r"},
    "deeplens_identity": {USERS: "rwd", PUBLIC_KEYS: "rwd", "audit_log": ""},
    "deeplens_operations": {"tenants": "rwd", "models": "rwd", KEYS: "rwd", USERS: "rwd", PUBLIC_KEYS: "rwd"}
    | {"pending_images": "rwd", "pending_videos": "rwd", "dead_letters": "rwd", "audit_log": "r"},
}
"""r: reads, w: changes, d: deletes rows; of the tables that matter most."""
TABLES = (
    "tenants",
    "models",
    "pending_images",
    "pending_videos",
    "dead_letters",
    "audit_log",
    USERS,
    KEYS,
    PUBLIC_KEYS,
)


@pytest.fixture(scope="module")
def own_platform(pytestconfig: pytest.Config) -> Iterator[str]:
    """A platform database with its roles, on a server of its own: roles belong to a server."""
    with running_postgres(pytestconfig) as service:
        yield migrated(service)


def migrated(service: PostgresService) -> str:
    url = service.environment["DATABASE_URL"]
    migrate_platform(url, [url_of(url, role) for role in ROLES])
    return url


def url_of(platform: str, role: str) -> str:
    return with_credentials(platform, role, password_of(role, KEY))


def run(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@pytest.mark.parametrize("role", ROLES)
def test_a_role_of_the_functions_does_nothing_that_no_function_needs(own_platform: str, role: str) -> None:
    for statement in REFUSED:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            run(url_of(own_platform, role), statement)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_opens_only_its_tables(own_platform: str, role: str) -> None:
    def may(table: str, privilege: str) -> bool:
        return run(own_platform, f"SELECT has_table_privilege('{role}', '{table}', '{privilege}')") == [(True,)]

    letters = {"r": "SELECT", "w": "UPDATE", "d": "DELETE"}
    found = {
        table: "".join(letter for letter, privilege in letters.items() if may(table, privilege)) for table in TABLES
    }
    assert found == dict.fromkeys(TABLES, "") | OPEN[role]


@pytest.mark.parametrize("role", sorted({*ROLES} - {"deeplens_identity", "deeplens_operations"}))
@pytest.mark.parametrize("secret", ["password_hash FROM nextgen_identity.users", "* FROM nextgen_identity.sessions"])
def test_a_pipelines_role_reads_no_password(own_platform: str, role: str, secret: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        run(url_of(own_platform, role), f"SELECT {secret}")


@pytest.mark.parametrize("role", sorted({*ROLES} - {"deeplens_operations"}))
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE tenants SET database_server = 'postgresql://thief'",
        "UPDATE tenants SET storage_uri = 's3://thief'",
        "UPDATE tenants SET status = 'deleting'",
        "INSERT INTO tenant_api_keys (prefix, name, secret_sha256, scopes) VALUES ('mine', 'mine', '', '{}')",
        "UPDATE tenant_api_keys SET scopes = '{deeplens.api.admin}'",
    ],
)
def test_no_role_but_the_administrations_redirects_a_tenant_or_makes_a_key(
    own_platform: str, role: str, statement: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        run(url_of(own_platform, role), statement)


def test_the_identity_role_does_not_read_where_tenants_databases_are(own_platform: str) -> None:
    assert run(url_of(own_platform, "deeplens_identity"), "SELECT id, name FROM tenants") == []
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        run(url_of(own_platform, "deeplens_identity"), "SELECT database_server FROM tenants")


@pytest.mark.parametrize("role", ROLES)
def test_a_role_opens_no_other_database_and_not_without_its_password(own_platform: str, role: str) -> None:
    create_database(own_platform, "deeplens_tenant_a")
    run(own_platform, "REVOKE ALL ON DATABASE deeplens_tenant_a FROM PUBLIC")
    for database in ("deeplens_tenant_a", "postgres", "template1"):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            run(database_url(url_of(own_platform, role), database), "SELECT 1")
    for password in ("", "wrong", password_of(role, TENANT_KEY)):
        with pytest.raises(psycopg.OperationalError, match="password"):
            run(with_credentials(own_platform, role, password), "SELECT 1")


@pytest.mark.parametrize("role", sorted({*ROLES} - {"deeplens_operations"}))
def test_no_role_but_operations_purges_the_audit_log(own_platform: str, role: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        run(url_of(own_platform, role), "SELECT purge_audit_log('400 days', 10)")


def test_the_audit_log_is_purged_after_its_retention_and_records_that(own_platform: str) -> None:
    operations = url_of(own_platform, "deeplens_operations")
    add_entries(own_platform, 500, 450, 402, 399, 1)
    assert [run(operations, f"SELECT purge_audit_log('400 days', {most})") for most in (2, 100, 100)] == [
        [(2,)],
        [(1,)],
        [(0,)],
    ]
    kept = "SELECT target, (detail ->> 'entries')::int FROM audit_log ORDER BY id"
    assert run(operations, kept) == [("399", None), ("1", None), ("audit_log", 2), ("audit_log", 1)]


@pytest.mark.parametrize("kept", ["'89 days'", "'0'", "'-400 days'", "NULL"])
def test_no_retention_is_so_short_that_traces_could_be_removed(own_platform: str, kept: str) -> None:
    add_entries(own_platform, 80)
    with pytest.raises(psycopg.errors.RaiseException, match="at least 90 days"):
        run(url_of(own_platform, "deeplens_operations"), f"SELECT purge_audit_log({kept}, 10)")


@pytest.mark.parametrize(
    "statement", ["DELETE FROM audit_log", "UPDATE audit_log SET actor = ''", "TRUNCATE audit_log"]
)
def test_not_even_the_administrator_changes_the_audit_log(own_platform: str, statement: str) -> None:
    add_entries(own_platform, 1)
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        run(own_platform, statement)


def add_entries(url: str, *days: int) -> None:
    """Entries of so many days ago, with their age as target."""
    columns = "at, actor, action, target, outcome, request_id"
    for age in days:
        values = f"now() - interval '{age} days', 'someone', 'POST', '{age}', 'done', 'r'"
        run(url, f"INSERT INTO audit_log ({columns}) VALUES ({values})")


def test_a_decoder_admits_an_image_and_its_trigger_notes_the_change(own_platform: str) -> None:
    admit = (
        "INSERT INTO pending_images (tenant_id, image_id, event, released, due) VALUES ('t', 'i', '{}', true, now())"
    )
    decoders = url_of(own_platform, "deeplens_decoders")
    run(decoders, admit)
    assert run(own_platform, "SELECT tenant_id FROM tenant_sweeps") == [("t",)]
    run(decoders, "DELETE FROM pending_images")


def test_migrating_again_changes_passwords_and_takes_privileges_that_were_added_by_hand(own_platform: str) -> None:
    role, old = "deeplens_pipeline", url_of(own_platform, "deeplens_pipeline")
    new = with_credentials(own_platform, role, "another password, with / and @")
    run(own_platform, f"GRANT ALL ON nextgen_identity.users, audit_log TO {role}; ALTER ROLE {role} CREATEDB")
    migrate_platform(own_platform, [new])
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        run(new, "SELECT * FROM audit_log")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        run(new, "CREATE DATABASE mine")
    with pytest.raises(psycopg.OperationalError, match="password"):
        run(old, "SELECT 1")
    migrate_platform(own_platform, [old])


@pytest.mark.parametrize(
    "url", ["postgresql://deeplens:secret@h/x", "postgresql://deeplens_pipeline@h/x", "postgresql://h/x"]
)
def test_the_administrators_url_is_not_taken_for_a_roles(own_platform: str, url: str) -> None:
    with pytest.raises(ValueError, match="check the roles' URLs"):
        platform_roles.apply(own_platform, [url])


def test_a_table_of_a_later_migration_is_open_to_its_schemas_roles_only(own_platform: str) -> None:
    with connect(own_platform) as connection:
        connection.execute("CREATE TABLE later (id int); CREATE TABLE nextgen_identity.later (id int)")
    migrate_platform(own_platform, [url_of(own_platform, role) for role in ROLES])
    try:
        for role, table, reads in (
            ("deeplens_pipeline", "later", True),
            ("deeplens_decoders", "later", False),
            ("deeplens_identity", "later", False),
            ("deeplens_identity", "nextgen_identity.later", True),
            ("deeplens_search", "nextgen_identity.later", False),
        ):
            assert run(own_platform, f"SELECT has_table_privilege('{role}', '{table}', 'SELECT')") == [(reads,)]
    finally:
        with connect(own_platform) as connection:
            connection.execute("DROP TABLE later, nextgen_identity.later")
