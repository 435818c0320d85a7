"""Runs of maintenance, of the fake as of PostgreSQL: nothing runs twice, and only what changed is swept."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from deeplens.database.connections import Connections
from deeplens.events.images import ImageUploaded
from deeplens.images.postgres_pending import PostgresPending
from deeplens.maintenance.model import Finding, MaintenanceRun, MaintenanceRuns, MaintenanceType, report_of
from deeplens.maintenance.postgres import PostgresMaintenanceRuns
from deeplens.tenants.model import Tenant
from deeplens.tenants.postgres import PostgresTenantRecords

from tests.fakes.maintenance import FakeMaintenanceRuns

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
NOON = datetime(2126, 11, 20, 12, tzinfo=UTC)
"""Later than any other test's."""
_numbers = itertools.count(1)


@pytest.fixture(params=["fake", "postgres"])
def runs(request: pytest.FixtureRequest) -> MaintenanceRuns:
    if request.param == "fake":
        return FakeMaintenanceRuns()
    return PostgresMaintenanceRuns(request.getfixturevalue("connections"))


def run_of(
    tenant: Tenant, type: MaintenanceType = "sweep", at: datetime = NOON, *, dry_run: bool = False
) -> MaintenanceRun:
    return MaintenanceRun(f"mnt_{next(_numbers)}", tenant.id, type, dry_run, created_at=at, due=at)


def due(runs: MaintenanceRuns, at: datetime) -> list[str]:
    return runs.sweeps_due(at, DAY, 1000)


def end(runs: MaintenanceRuns, run: MaintenanceRun, at: datetime) -> None:
    assert runs.move(run.moved("end", run.report, at, at), run.cursor)


def test_a_run_reads_back_as_it_was_kept(runs: MaintenanceRuns, tenant: Tenant) -> None:
    run = run_of(tenant, dry_run=True)
    assert runs.start(run, DAY)
    report = report_of("rows", 7, [Finding("row-without-vector", "img_1", "m 1")], repaired=True, freed=1 << 40)
    moved = run.moved("objects:images/süß.jpg", report, NOON + MINUTE, None)
    assert runs.move(moved, "")
    assert runs.find(run.id) == moved
    assert runs.of_tenant(tenant.id, 10) == [moved]
    assert moved in runs.of_tenant(None, 10)
    assert runs.find("mnt_unknown") is None


def test_one_run_of_a_type_at_a_time(runs: MaintenanceRuns, tenant: Tenant, new_tenant: object) -> None:
    first = run_of(tenant)
    assert runs.start(first, DAY)
    assert not runs.start(run_of(tenant), DAY)
    assert runs.start(run_of(tenant, "storage-optimisation"), DAY)
    end(runs, first, NOON)
    assert runs.start(run_of(tenant), DAY)


def test_a_slice_moves_a_run_once(runs: MaintenanceRuns, tenant: Tenant) -> None:
    run = run_of(tenant)
    runs.start(run, DAY)
    moved = run.moved("rows:img_1", run.report, NOON, None)
    assert runs.move(moved, "")
    assert not runs.move(moved, "")
    end(runs, moved, NOON)
    assert not runs.move(moved.moved("later", run.report, NOON, None), "end")


def test_a_run_that_waits_is_handed_out_once_until_it_is_due_again(runs: MaintenanceRuns, tenant: Tenant) -> None:
    run = run_of(tenant)
    runs.start(run, DAY)

    def mine(at: datetime) -> list[str]:
        return [run.id for run in runs.overdue(at, at + 5 * MINUTE, 1000) if run.tenant_id == tenant.id]

    assert mine(NOON - MINUTE) == []
    assert mine(NOON) == [run.id]
    assert mine(NOON + MINUTE) == []
    assert mine(NOON + 5 * MINUTE) == [run.id]
    found = runs.find(run.id)
    assert found is not None
    end(runs, found, NOON)
    assert mine(NOON + DAY) == []


def test_a_tenant_is_swept_after_it_changed_and_once_more_for_what_was_too_young(
    runs: MaintenanceRuns, tenant: Tenant
) -> None:
    runs.changed([tenant.id], NOON)
    assert tenant.id not in due(runs, NOON + DAY)
    at = NOON + DAY + MINUTE
    assert tenant.id in due(runs, at)
    run = run_of(tenant, at=at)
    runs.start(run, 2 * DAY)
    assert tenant.id not in due(runs, at + 2 * DAY)  # it is being swept
    end(runs, run, at)
    assert tenant.id not in due(runs, at + DAY)
    again = at + DAY + MINUTE
    assert tenant.id in due(runs, again)
    run = run_of(tenant, at=again)
    runs.start(run, 2 * DAY)
    end(runs, run, again)
    assert tenant.id not in due(runs, again + 30 * DAY)


def test_old_runs_are_forgotten_once_they_have_ended(runs: MaintenanceRuns, tenant: Tenant) -> None:
    ended, live = run_of(tenant), run_of(tenant, "storage-optimisation")
    for run in (ended, live):
        runs.start(run, DAY)
    end(runs, ended, NOON)
    runs.forget(NOON, 1000)  # what other tests have left
    assert {run.id for run in runs.of_tenant(tenant.id, 10)} == {live.id, ended.id}
    assert runs.forget(NOON + MINUTE, 1000) >= 1
    assert [run.id for run in runs.of_tenant(tenant.id, 10)] == [live.id]


def test_a_dry_run_is_no_sweep(runs: MaintenanceRuns, tenant: Tenant) -> None:
    runs.changed([tenant.id], NOON)
    run = run_of(tenant, dry_run=True)
    runs.start(run, DAY)
    end(runs, run, NOON)
    assert tenant.id in due(runs, NOON + DAY + MINUTE)


def test_an_accepted_upload_is_a_change_whichever_version_accepts_it(connections: Connections, tenant: Tenant) -> None:
    runs, pending = PostgresMaintenanceRuns(connections), PostgresPending(connections, 10)
    event = ImageUploaded(
        image_id="img_a",
        tenant_id=tenant.id,
        file_name="a.jpg",
        storage_path=f"{tenant.storage_uri}/images/img_a.jpg",
        mime_type="image/jpeg",
        size_bytes=1,
        uploaded_at=NOON,
    )
    later = datetime.now(UTC) + DAY + MINUTE
    assert tenant.id not in due(runs, later)
    for _ in range(2):
        pending.admit(event, NOON)
        pending.admit(event.model_copy(update={"image_id": "img_b"}), NOON)
    assert tenant.id in due(runs, later)


def test_a_suspended_tenant_is_left_alone(connections: Connections, tenant: Tenant) -> None:
    runs = PostgresMaintenanceRuns(connections)
    runs.changed([tenant.id], NOON)
    runs.start(run_of(tenant), DAY)
    assert PostgresTenantRecords(connections).change_status(tenant.id, "suspended", NOON, "active")
    assert tenant.id not in due(runs, NOON + 2 * DAY)
    assert all(run.tenant_id != tenant.id for run in runs.overdue(NOON + DAY, NOON + 2 * DAY, 1000))


def test_a_deleted_tenant_leaves_no_runs(connections: Connections, tenant: Tenant) -> None:
    runs = PostgresMaintenanceRuns(connections)
    runs.changed([tenant.id], NOON)
    runs.start(run_of(tenant), DAY)
    erased = PostgresTenantRecords(connections).delete_rows(tenant.id)
    assert (erased["maintenanceRuns"], erased["sweeps"]) == (1, 1)
    assert runs.of_tenant(tenant.id, 10) == []
