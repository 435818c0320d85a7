"""Creations and deletions of tenants that stopped are continued, each step once, within a budget of time."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from deeplens.errors import DeepLensError, StoreNotOwned
from deeplens.provisioning.settle import OBJECTS_AT_ONCE, SettleTenants
from deeplens.tenants.limits import ResourceLimits
from deeplens.tenants.model import TenantRecord, VideoSettings

from tests.fakes.provisioning import FakeProvisioning, FakeTenantRecords
from tests.harness.api import MODEL, START, World


def record(tenant_id: str, status: Any, **more: Any) -> TenantRecord:
    values: dict[str, Any] = {
        "id": tenant_id,
        "name": tenant_id,
        "status": status,
        "own_database_server": False,
        "storage_uri": "",
        "qdrant_url": None,
        "model": MODEL,
        "limits": ResourceLimits(),
        "settings": {},
        "video": VideoSettings(),
        "progress": {},
        "status_since": START - timedelta(minutes=5),
        "created_at": START,
    }
    return TenantRecord(**values | more)


class Settling:
    """The job over a world, with a clock for its budget."""

    def __init__(self, *records: TenantRecord) -> None:
        self.world = World()
        self.seconds = 0.0
        self.records = FakeTenantRecords(*records)
        self.provisioning = FakeProvisioning(self.world.acme, self.world.other)
        self.acme = self.world.stores.for_tenant(self.world.acme)
        self.job = SettleTenants(
            self.records,  # type: ignore[arg-type]
            lambda: self.provisioning,  # type: ignore[arg-type,return-value]
            self.world.stores,
            lambda: self.world.index,
            self.world.rollouts,
            self.world.registered_stores,
            self.world.secret_store,
            self.world.clock,
            lambda: self.seconds,
        )

    def progress(self, tenant_id: str = "tenant_acme") -> dict[str, Any]:
        return self.records.records[tenant_id].progress


def test_a_creation_that_stopped_is_continued_after_its_grace() -> None:
    late = START + timedelta(hours=1)
    settling = Settling(record("tenant_acme", "provisioning"), record("tenant_b", "provisioning", status_since=late))
    assert settling.job() == []
    assert settling.provisioning.resumed == ["tenant_acme"]


def test_a_deletion_leaves_a_receipt_and_other_tenants_alone() -> None:
    settling = Settling(record("tenant_acme", "deleting"))
    other = settling.world.stores.for_tenant(settling.world.other)
    for store in (settling.acme, other):
        store.put("images/a", b"1", "image/jpeg")
    settling.job()
    assert settling.records.records["tenant_acme"].status == "deleted"
    assert settling.progress()["objects"] == {"objects": 1}
    assert settling.progress()["records"] == {"keys": 1}
    assert settling.provisioning.dropped == ["tenant_acme"]
    assert [entry.key for entry in other.list()] == ["images/a"]


def test_a_step_that_is_recorded_is_not_repeated() -> None:
    settling = Settling(record("tenant_acme", "deleting", progress={"database": {"databases": 1}}))
    settling.job()
    assert settling.provisioning.dropped == []
    assert settling.records.records["tenant_acme"].status == "deleted"


def test_a_large_store_is_emptied_in_several_runs() -> None:
    settling = Settling(record("tenant_acme", "deleting"))
    for number in range(OBJECTS_AT_ONCE + 1):
        settling.acme.put(f"images/{number}", b"1", "image/jpeg")
    looks = iter([0.0, 100.0])
    replace(settling.job, monotonic=lambda: next(looks))()
    assert settling.progress()["objectsSoFar"] == OBJECTS_AT_ONCE
    assert settling.provisioning.dropped == []
    settling.job()
    assert settling.progress()["objects"] == {"objects": OBJECTS_AT_ONCE + 1}


def test_a_tenant_that_cannot_be_settled_holds_up_no_other() -> None:
    settling = Settling(record("tenant_other", "provisioning"), record("tenant_acme", "deleting"))
    settling.provisioning.broken.add("tenant_other")
    with pytest.raises(DeepLensError, match="not settled: tenant_other"):
        settling.job()
    assert settling.records.records["tenant_acme"].status == "deleted"


def test_nothing_is_deleted_in_a_bucket_of_another_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    settling = Settling(record("tenant_acme", "deleting"))
    settling.acme.put("images/a", b"1", "image/jpeg")

    def refuse(_: object) -> None:
        raise StoreNotOwned("another installation's")

    monkeypatch.setattr(type(settling.acme), "require_ours", refuse)
    with pytest.raises(DeepLensError, match="not settled: tenant_acme"):
        settling.job()
    assert [entry.key for entry in settling.acme.list()] == ["images/a"]
    assert settling.provisioning.dropped == []
