"""What migrations make is what databases of deployed installations hold."""

from deeplens.database import migrate
from deeplens.database.connections import connect
from deeplens.database.credentials import database_url
from deeplens.provisioning import provision as tenants
from deeplens.tenants.model import Tenant

from tests.contract.compatibility.database import schema_of
from tests.contract.compatibility.golden import differences, explain


def test_the_platform_database_keeps_compatibility_with_its_stored_schema(platform_url: str) -> None:
    url = database_url(platform_url, "deeplens_compatibility")
    tenants.create_database(platform_url, "deeplens_compatibility")
    migrate.upgrade(url, "platform")
    with connect(url) as connection:
        changes = differences("database-platform", schema_of(connection))
    assert not changes, explain(changes)


def test_a_tenants_database_keeps_compatibility_with_its_stored_schema(platform_url: str, tenant: Tenant) -> None:
    with connect(database_url(platform_url, f"deeplens_{tenant.id}")) as connection:
        changes = differences("database-tenant", schema_of(connection))
    assert not changes, explain(changes)
