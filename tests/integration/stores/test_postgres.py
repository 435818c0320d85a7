"""Registered stores and what is known of their objects, of the fakes as of PostgreSQL."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from deeplens.database.connections import Connections
from deeplens.events.images import ImageUploaded
from deeplens.images.postgres_pending import PostgresPending
from deeplens.maintenance.model import MaintenanceRun
from deeplens.maintenance.postgres import PostgresMaintenanceRuns
from deeplens.stores.model import KnownObject, RegisteredStores, StoreObjects, TenantStore
from deeplens.stores.postgres import PostgresRegisteredStores, PostgresStoreObjects
from deeplens.tenants.model import Tenant

from tests.fakes.db import FakeDirectory
from tests.fakes.stores import FakeRegisteredStores, FakeStoreObjects

NOON = datetime(2126, 11, 20, 12, tzinfo=UTC)
_numbers = itertools.count(1)


@pytest.fixture(params=["fake", "postgres"])
def stores(request: pytest.FixtureRequest, tenant: Tenant) -> RegisteredStores:
    if request.param == "fake":
        return FakeRegisteredStores(FakeDirectory(tenant))
    return PostgresRegisteredStores(request.getfixturevalue("connections"))


@pytest.fixture(params=["fake", "postgres"])
def objects(request: pytest.FixtureRequest) -> StoreObjects:
    if request.param == "fake":
        return FakeStoreObjects()
    return PostgresStoreObjects(request.getfixturevalue("connections"))


def store_of(tenant: Tenant) -> TenantStore:
    number = next(_numbers)
    return TenantStore(f"sto_{number:04}", tenant.id, "s3", "reference", f"photos-{number}", NOON)


def test_a_store_reads_back_as_it_was_saved(stores: RegisteredStores, tenant: Tenant) -> None:
    store = replace(store_of(tenant), prefix="süß/", role_arn="arn:aws:iam::1:role/r", checks=({"check": "list"},))
    stores.save(store)
    assert stores.find(tenant.id, store.id) == store
    changed = replace(store, state="ready", credentials_version=2, checks=(), removal="ask")
    stores.save(changed)
    assert store.id in {owned_store.id for owned_store in stores.of_tenant(tenant.id)}
    assert stores.find(tenant.id, store.id) == changed
    stores.notified(store.id, NOON)
    stores.save(changed)
    assert stores.find(tenant.id, store.id) == replace(changed, notified_at=NOON)
    stores.remove(tenant.id, store.id)
    stores.remove(tenant.id, store.id)
    assert stores.find(tenant.id, store.id) is None


def test_another_tenant_finds_and_removes_nothing(stores: RegisteredStores, tenant: Tenant) -> None:
    store = store_of(tenant)
    stores.save(store)
    assert stores.find("tenant_nobody", store.id) is None
    assert stores.of_tenant("tenant_nobody") == []
    stores.remove("tenant_nobody", store.id)
    assert stores.find(tenant.id, store.id) == store


def test_only_ready_stores_are_found_by_their_bucket(stores: RegisteredStores, tenant: Tenant) -> None:
    store = store_of(tenant)
    stores.save(store)
    assert stores.of_container(store.container) == []
    stores.save(replace(store, state="ready"))
    assert [owned_store.id for owned_store in stores.of_container(store.container)] == [store.id]
    assert stores.of_container("elsewhere\x00") == []


def test_objects_are_kept_by_store_and_key(objects: StoreObjects, new_tenant: Callable[[], Tenant]) -> None:
    tenant = new_tenant()
    one, two = KnownObject('a/ö ".jpg', "e1", "img_a"), KnownObject("b.jpg", "e2", "img_b", 3, "asked")
    objects.save(tenant, "sto_a", [one, two], "run_1")
    objects.save(tenant, "sto_a", [])
    assert objects.find(tenant, "sto_a", [one.key, two.key, "c"]) == {one.key: one, two.key: two}
    assert objects.find(tenant, "sto_b", [one.key]) == {}
    assert objects.counts(tenant, "sto_a") == {"present": 1, "asked": 1}
    assert objects.in_state(tenant, "sto_a", "asked", 10) == [two]
    objects.save(tenant, "sto_a", [replace(one, etag="e3")])
    assert objects.find(tenant, "sto_a", [one.key])[one.key].etag == "e3"
    objects.forget(tenant, "sto_a")
    assert objects.counts(tenant, "sto_a") == {}


def test_what_a_scan_has_not_seen_comes_in_the_order_of_bytes(
    objects: StoreObjects, new_tenant: Callable[[], Tenant]
) -> None:
    tenant, keys = new_tenant(), ["B", "a", "a/b", "a b", "é", "\U0001f98a", "~"]
    objects.save(tenant, "sto_a", [KnownObject(key, "e", f"img_{n}") for n, key in enumerate(keys)], "run_1")
    objects.save(tenant, "sto_a", [KnownObject("z", "e", "img_z", state="removed")], "run_1")
    assert objects.unseen(tenant, "sto_a", "run_1", "", 100) == []
    objects.save(tenant, "sto_a", [KnownObject("a", "e", "img_1")], "run_2")
    expected = sorted((key for key in keys if key != "a"), key=str.encode)
    assert [known.key for known in objects.unseen(tenant, "sto_a", "run_2", "", 100)] == expected
    assert [known.key for known in objects.unseen(tenant, "sto_a", "run_2", expected[1], 2)] == expected[2:4]


def test_a_scan_that_rests_is_woken_once_when_there_is_room(connections: Connections, tenant: Tenant) -> None:
    runs, pending, minute = (
        PostgresMaintenanceRuns(connections),
        PostgresPending(connections, 100),
        timedelta(minutes=1),
    )
    run = MaintenanceRun(
        f"mnt_wake_{next(_numbers)}", tenant.id, "store-scan", False, NOON, NOON + minute, "sto_a:list:"
    )
    assert runs.start(run, minute)
    before = pending.count(tenant.id)
    event = ImageUploaded(
        image_id="img_wake",
        tenant_id=tenant.id,
        file_name="a",
        storage_path="s3://sto_a/a.jpg",
        mime_type="image/jpeg",
        size_bytes=1,
        uploaded_at=NOON,
    )
    pending.admit(event, NOON)
    assert pending.count(tenant.id) == before + 1
    late = NOON + 10 * minute
    assert runs.wake([tenant.id], before + 1, NOON + minute, late) == []
    assert runs.wake(["tenant_nobody"], before + 2, NOON + minute, late) == []
    assert runs.wake([tenant.id], before + 2, NOON, late) == []
    assert [run.id for run in runs.wake([tenant.id], before + 2, NOON + minute, late)] == [run.id]
    assert runs.wake([tenant.id], before + 2, NOON + minute, late) == []
    pending.finish([(tenant.id, "img_wake")], NOON)
