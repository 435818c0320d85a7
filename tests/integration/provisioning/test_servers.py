"""Credentials of a tenant's own PostgreSQL server are in the secret store, and nowhere in the platform database."""

import json
from collections.abc import Iterator

import psycopg
import pytest
from deeplens.database.connections import Connections, connect
from deeplens.database.credentials import split_credentials
from deeplens.errors import ApiError, DatabaseUnavailable
from deeplens.images.postgres import PostgresImages
from deeplens.provisioning.create import CreateTenant, DefaultStorage
from deeplens.provisioning.provision import Provisioning
from deeplens.provisioning.schemas import TenantRequest
from deeplens.provisioning.servers import credentials_of, secret_name
from deeplens.tenants.postgres import PostgresTenantRecords
from deeplens.vectors.keys import IndexKeys

from local.operations.migrations import migrate_tenants, move_credentials
from tests.fakes.stores import FakeSecrets
from tests.integration.conftest import TENANT_KEY, NewTenant
from tests.integration.provisioning.test_provision import Outside

QDRANT = "http://qdrant:6333"
PASSWORD = "administrator of the customer"


@pytest.fixture
def secrets() -> FakeSecrets:
    return FakeSecrets()


@pytest.fixture
def opened(platform_url: str, secrets: FakeSecrets) -> Iterator[Connections]:
    connections = Connections(
        platform_url, tenant_key=TENANT_KEY, server_credentials=lambda tenant_id: credentials_of(secrets, tenant_id)
    )
    yield connections
    connections.close()


@pytest.fixture
def server_url(platform_url: str) -> Iterator[str]:
    """The same server under its number, with an administrator of its own."""
    with connect(platform_url) as connection:
        connection.execute(f"CREATE ROLE customer LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
    yield platform_url.replace("deeplens@", f"customer:{PASSWORD.replace(' ', '%20')}@").replace(
        "/deeplens_platform", "/postgres"
    )
    with connect(platform_url) as connection:
        own = "UPDATE tenants SET status = 'deleted' WHERE database_server IS NOT NULL RETURNING database_name"
        for row in connection.execute(own).fetchall():
            connection.execute(f"DROP DATABASE IF EXISTS {row['database_name']} WITH (FORCE)")
        for role in ("customer", "customer_two"):
            connection.execute(f"DROP ROLE IF EXISTS {role}")


@pytest.fixture
def create(opened: Connections, secrets: FakeSecrets) -> CreateTenant:
    outside = Outside()
    provisioning = Provisioning(opened, outside, outside, QDRANT)  # type: ignore[arg-type]
    keys = IndexKeys.of("", QDRANT, required=False)
    records, unused = PostgresTenantRecords(opened), None
    return CreateTenant(records, lambda: provisioning, unused, unused, keys, secrets, DefaultStorage("nfs"))  # type: ignore[arg-type]


def wanted(tenant_id: str, url: str) -> TenantRequest:
    return TenantRequest.model_validate({"tenantId": tenant_id, "name": "A", "placement": {"databaseServer": url}})


def dump_of(url: str) -> str:
    """Every row of every table, as somebody with a copy of the database reads it."""
    found = "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'"
    with connect(url) as connection:
        tables = [(row["table_schema"], row["table_name"]) for row in connection.execute(found).fetchall()]
        names = [psycopg.sql.Identifier(*table) for table in tables if table[0] in ("public", "nextgen_identity")]
        statements = [psycopg.sql.SQL("SELECT t::text AS line FROM {} t").format(name) for name in names]
        return "\n".join(row["line"] for statement in statements for row in connection.execute(statement).fetchall())


def migration_error(connections: Connections, tenant_id: str) -> str | None:
    """Of this tenant, as the migration of all tenants found it."""
    done = {migrated.tenant_id: migrated.error for migrated in migrate_tenants(connections, lambda _: None, every=True)}
    return done[tenant_id]


def status_of(connections: Connections, tenant_id: str) -> str:
    found = PostgresTenantRecords(connections).find(tenant_id)
    assert found is not None
    return found.status


def test_a_copy_of_the_platform_database_opens_no_customers_server(
    create: CreateTenant, opened: Connections, secrets: FakeSecrets, server_url: str, platform_url: str
) -> None:
    create(wanted("tenant_own_server", server_url))
    assert "tenant_own_server" in (dump := dump_of(platform_url))
    assert PASSWORD not in dump
    assert PASSWORD.replace(" ", "%20") not in dump
    assert json.loads(secrets.values[secret_name("tenant_own_server")]) == {
        "username": "customer",
        "password": PASSWORD,
    }
    tenant = create.provisioning().tenant("tenant_own_server")
    assert PostgresImages(opened).find(tenant, ["img_a"]) == {}


def test_credentials_that_were_rotated_in_the_secret_count_at_once(
    create: CreateTenant, opened: Connections, secrets: FakeSecrets, server_url: str, platform_url: str
) -> None:
    create(wanted("tenant_rotated", server_url))
    with connect(platform_url) as connection:
        connection.execute("ALTER ROLE customer NOLOGIN")
        connection.execute("CREATE ROLE customer_two LOGIN SUPERUSER PASSWORD 'x'")
    assert migration_error(opened, "tenant_rotated") is not None
    secrets.values[secret_name("tenant_rotated")] = json.dumps({"username": "customer_two", "password": "x"})
    assert migration_error(opened, "tenant_rotated") is None
    create.provisioning().drop_database("tenant_rotated")


def test_a_repeat_brings_other_credentials_only_while_the_tenant_is_being_created(
    create: CreateTenant, opened: Connections, secrets: FakeSecrets, server_url: str
) -> None:
    wrong = server_url.replace("customer:", "nobody:")
    with pytest.raises(DatabaseUnavailable):
        create(wanted("tenant_repeated", wrong))
    assert status_of(opened, "tenant_repeated") == "provisioning"
    create(wanted("tenant_repeated", server_url))
    assert status_of(opened, "tenant_repeated") == "active"
    kept = dict(secrets.values)
    with pytest.raises(ApiError, match="active"):
        create(wanted("tenant_repeated", wrong))
    assert secrets.values == kept


def test_credentials_in_rows_of_an_older_version_are_moved(
    opened: Connections, secrets: FakeSecrets, new_tenant: NewTenant, server_url: str, platform_url: str
) -> None:
    live, gone, addressed = new_tenant(), new_tenant(), new_tenant()
    address, credentials = split_credentials(server_url)
    with opened.platform() as connection:
        for tenant, url, status in (
            (live, server_url, "active"),
            (gone, server_url, "deleted"),
            (addressed, address, "active"),
        ):
            connection.execute(
                "UPDATE tenants SET database_server = %s, status = %s WHERE id = %s", [url, status, tenant.id]
            )
    assert opened.server_url(live.id, server_url) == server_url
    assert set(move_credentials(opened, secrets)) == {live.id, gone.id}
    assert move_credentials(opened, secrets) == []
    assert secrets.values == {secret_name(live.id): credentials}
    assert PASSWORD.replace(" ", "%20") not in dump_of(platform_url)
    with connect(opened.server_url(live.id, address)) as connection:
        assert connection.info.user == "customer"
    assert migration_error(opened, live.id) is None


@pytest.mark.parametrize("url", ["postgresql://u:hidden@h/%zz", "postgresql://u:hidden@h/x?nonsense=1"])
def test_a_url_that_cannot_be_parsed_is_refused_and_not_repeated(
    create: CreateTenant, secrets: FakeSecrets, url: str
) -> None:
    with pytest.raises(ApiError, match=r"placement\.databaseServer") as refused:
        create(wanted("tenant_refused", url))
    assert refused.value.status == 422
    assert "hidden" not in str(refused.value)
    assert secrets.values == {}
