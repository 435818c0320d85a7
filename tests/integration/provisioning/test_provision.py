"""A new tenant gets database, bucket and collection; whatever stops that, running it again finishes it."""

from collections.abc import Callable
from typing import Any

import pytest
from deeplens.database import migrate
from deeplens.database.connections import Connections
from deeplens.embedding.model import ModelRef
from deeplens.errors import (
    DatabaseUnavailable,
    DependencyUnavailable,
    IndexUnavailable,
    StoreNotOwned,
    StoreUnavailable,
    TenantNotFound,
)
from deeplens.images.postgres import PostgresImages
from deeplens.provisioning.provision import Provisioning
from deeplens.storage.keys import BucketNames
from deeplens.tenants.directory import PostgresDirectory
from deeplens.tenants.model import Tenant

from local.operations import migrations
from tests.integration.images.test_postgres import new_image

QDRANT = "http://qdrant:6333"


class Outside:
    """Bucket and collection of tenants, in sets; a part that is ``away`` raises."""

    def __init__(self) -> None:
        self.buckets: set[str] = set()
        self.collections: set[str] = set()
        self.away: DependencyUnavailable | None = None

    def for_tenant(self, tenant: Tenant) -> Any:
        outside = self

        class Store:
            def ensure(self) -> None:
                outside._raise(StoreUnavailable)
                outside.buckets.add(tenant.storage_uri)

        return Store()

    def create_collection(self, tenant: Tenant) -> None:
        self._raise(IndexUnavailable)
        self.collections.add(tenant.collection)

    def _raise(self, kind: type[DependencyUnavailable]) -> None:
        if isinstance(self.away, kind):
            raise self.away


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
def provisioning(connections: Connections, outside: Outside) -> Provisioning:
    return Provisioning(connections, outside, outside, QDRANT)  # type: ignore[arg-type]


def test_a_provisioned_tenant_has_everything_and_can_take_images(
    provisioning: Provisioning, outside: Outside, connections: Connections
) -> None:
    tenant = provisioning.provision("tenant_new_one", "New one", "nfs", ModelRef("deeplens-visual", "1", 512))
    assert (tenant.status, tenant.storage_uri, tenant.qdrant_url) == ("active", "nfs://tenant-new-one", QDRANT)
    assert outside.buckets == {"nfs://tenant-new-one"}
    assert outside.collections == {"tenant_new_one__deeplens-visual__1"}
    assert PostgresDirectory(connections, QDRANT).get("tenant_new_one") == tenant
    images = PostgresImages(connections)
    images.insert(tenant, new_image())
    assert set(images.find(tenant, ["img_a"])) == {"img_a"}


@pytest.mark.parametrize(
    ("scheme", "uri"), [("s3", "s3://acme-named-one-123456789012"), ("minio", "minio://acme-named-one")]
)
def test_a_bucket_is_named_as_the_operator_says_and_a_row_keeps_its_bucket(
    connections: Connections, outside: Outside, scheme: str, uri: str
) -> None:
    tenant_id = f"tenant_named_{scheme}"
    names = BucketNames("acme-", "-123456789012")
    provisioning = Provisioning(connections, outside, outside, QDRANT, names)  # type: ignore[arg-type]
    expected = uri.replace("named-one", f"named-{scheme}")
    assert provisioning.provision(tenant_id, "Named", scheme).storage_uri == expected
    renamed = Provisioning(connections, outside, outside, QDRANT, BucketNames("other-"))  # type: ignore[arg-type]
    assert renamed.provision(tenant_id, "Named", scheme).storage_uri == expected


def test_two_tenants_never_share_a_bucket(connections: Connections, outside: Outside) -> None:
    old = Provisioning(connections, outside, outside, QDRANT)  # type: ignore[arg-type]
    old.provision("tenant_shared_123456789012", "Named before buckets had a suffix")
    names = BucketNames(suffix="-123456789012")
    with pytest.raises(StoreNotOwned, match="belongs to another tenant"):
        Provisioning(connections, outside, outside, QDRANT, names).provision("tenant_shared", "New")  # type: ignore[arg-type]
    with pytest.raises(TenantNotFound):
        old.tenant("tenant_shared")


def test_provisioning_again_changes_nothing(provisioning: Provisioning, connections: Connections) -> None:
    tenant = provisioning.provision("tenant_twice", "Twice")
    PostgresImages(connections).insert(tenant, new_image())
    assert provisioning.provision("tenant_twice", "Another name", "nfs", ModelRef("other", "9", 8)) == tenant
    assert set(PostgresImages(connections).find(tenant, ["img_a"])) == {"img_a"}


def _database_away(monkeypatch: pytest.MonkeyPatch, _outside: Outside) -> None:
    def away(*_: object) -> str:
        raise DatabaseUnavailable

    monkeypatch.setattr(migrate, "upgrade", away)


def _store_away(_monkeypatch: pytest.MonkeyPatch, outside: Outside) -> None:
    outside.away = StoreUnavailable()


def _index_away(_monkeypatch: pytest.MonkeyPatch, outside: Outside) -> None:
    outside.away = IndexUnavailable()


@pytest.mark.parametrize("breaks", [_database_away, _store_away, _index_away])
def test_what_was_interrupted_is_finished_by_running_it_again(
    provisioning: Provisioning,
    outside: Outside,
    connections: Connections,
    breaks: Callable[[pytest.MonkeyPatch, Outside], None],
) -> None:
    tenant_id = f"tenant_{breaks.__name__.strip('_')}"
    with pytest.MonkeyPatch.context() as monkeypatch:
        breaks(monkeypatch, outside)
        with pytest.raises(DependencyUnavailable):
            provisioning.provision(tenant_id, "Interrupted")
    with pytest.raises(TenantNotFound):
        PostgresDirectory(connections, QDRANT).get(tenant_id)
    outside.away = None
    assert provisioning.provision(tenant_id, "Interrupted").status == "active"
    assert PostgresDirectory(connections, QDRANT).get(tenant_id).id == tenant_id


def test_a_suspended_tenant_stays_suspended_and_one_being_deleted_is_not_revived(
    provisioning: Provisioning, connections: Connections
) -> None:
    provisioning.provision("tenant_status", "Status")
    with connections.platform() as connection:
        connection.execute("UPDATE tenants SET status = 'suspended' WHERE id = 'tenant_status'")
    assert provisioning.provision("tenant_status", "Status").status == "suspended"
    with connections.platform() as connection:
        connection.execute("UPDATE tenants SET status = 'deleting' WHERE id = 'tenant_status'")
    with pytest.raises(TenantNotFound):
        provisioning.provision("tenant_status", "Status")


@pytest.mark.parametrize(
    "tenant_id", ["acme", "tenant_", "tenant_Acme", "tenant_a-b", 'tenant_a"; DROP', "tenant_a_", "tenant_" + "a" * 41]
)
def test_an_id_that_is_not_a_tenants_is_refused(provisioning: Provisioning, tenant_id: str) -> None:
    with pytest.raises(ValueError, match="not a tenant id"):
        provisioning.provision(tenant_id, "Bad")


def test_the_longest_id_fits_into_a_database_name(provisioning: Provisioning, connections: Connections) -> None:
    longest = "tenant_" + "a" * 40
    assert provisioning.provision(longest, "Long").database_url.endswith(f"/deeplens_{longest}")
    assert [t.id for t in migrations.databases_to_migrate(connections)] == []
