"""A maintenance run works in slices: time limits, retries, lost slices, outages and the schedule."""

from dataclasses import replace

import pytest
from deeplens.errors import StoreUnavailable, TenantStoreDenied
from deeplens.images.model import Step, Tombstone
from deeplens.maintenance import slices as run_slices
from deeplens.maintenance import sweep
from deeplens.maintenance.model import MaintenanceRun
from deeplens.maintenance.slices import LOST_AFTER, slice_of

from tests.harness.api import START
from tests.harness.flow import Flow
from tests.unit.maintenance.conftest import DAY, MAINTENANCE, complete_images, start, sweep_to_end, tick


def test_a_slice_ends_in_time_and_the_next_one_goes_on(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    complete_images(flow, *(f"img_{n}" for n in range(5)))
    flow.clock.skip(3 * DAY)
    monkeypatch.setattr(run_slices, "SLICE_SECONDS", -1.0)
    monkeypatch.setattr(sweep, "ROWS_AT_ONCE", 2)
    run = sweep_to_end(flow)
    assert run.slices == 3 + 1 + 1 + 1  # pages of rows, objects and vectors, and the look beyond the last
    assert run.report.checked == {"rows": 5, "objects": 20, "vectors": 5}


def test_a_slice_that_comes_twice_makes_no_second_run(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    complete_images(flow, *(f"img_{n}" for n in range(4)))
    flow.clock.skip(3 * DAY)
    monkeypatch.setattr(run_slices, "SLICE_SECONDS", -1.0)
    run_id = start(flow)
    first = flow.maintenance_runs.runs[run_id]
    for _ in range(3):
        flow.send(slice_of(first, flow.clock.now()))
    flow.run()
    run = flow.maintenance_runs.runs[run_id]
    assert run.ended_at
    assert run.report.checked == {"rows": 4, "objects": 16, "vectors": 4}


def test_a_lost_slice_is_sent_again_by_the_schedule(flow: Flow) -> None:
    complete_images(flow, "img_1")
    flow.clock.skip(3 * DAY)
    run_id = start(flow)
    flow.records[MAINTENANCE].clear()
    assert tick(flow)() == []
    flow.clock.skip(LOST_AFTER)
    (event,) = tick(flow)()
    assert tick(flow)() == []
    flow.send(event)
    flow.run()
    assert flow.maintenance_runs.runs[run_id].ended_at


def test_repairs_come_a_window_at_a_time(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    complete_images(flow, *(f"img_{n}" for n in range(7)))
    flow.clock.skip(3 * DAY)
    flow.index.delete(flow.acme, [f"img_{n}" for n in range(7)])
    monkeypatch.setattr(sweep, "ROWS_AT_ONCE", 1)
    run_id = start(flow)
    flow.run()
    assert flow.index.count(flow.acme) == flow.backfill_window
    assert flow.maintenance_runs.runs[run_id].ended_at is None
    flow.clock.skip(LOST_AFTER)
    for event in tick(flow)():
        flow.send(event)
    flow.run()
    assert flow.index.count(flow.acme) == 2 * flow.backfill_window


def test_a_store_that_is_away_makes_the_slice_wait_and_nothing_fail(flow: Flow) -> None:
    complete_images(flow, "img_1")
    flow.clock.skip(3 * DAY)
    store = flow.stores.for_tenant(flow.acme)
    store.failure = StoreUnavailable("away")
    run_id = start(flow)
    flow.deliver(MAINTENANCE)
    assert len(flow.records[MAINTENANCE]) == 1
    store.failure = None
    flow.run()
    assert flow.maintenance_runs.runs[run_id].report.found == {}
    assert flow.row("img_1").step is Step.COMPLETED


def test_a_store_that_refuses_ends_the_run_with_its_reason(flow: Flow) -> None:
    complete_images(flow, "img_1")
    flow.clock.skip(3 * DAY)
    store = flow.stores.for_tenant(flow.acme)
    store.failure = TenantStoreDenied("no bucket")
    run = sweep_to_end(flow)
    assert (run.error, run.report.found) == ("TENANT_STORE_DENIED: no bucket", {})
    assert flow.dead_letters.letters == {}
    assert flow.row("img_1").step is Step.COMPLETED
    store.failure = None
    flow.clock.skip(DAY + LOST_AFTER)
    (event,) = tick(flow)()
    assert event.maintenance_type == "sweep"


def test_a_run_that_breaks_says_so_and_its_retry_changes_nothing(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    complete_images(flow, "img_1")
    flow.clock.skip(3 * DAY)
    monkeypatch.setattr(flow.images, "after", lambda *_: 1 / 0)
    run = sweep_to_end(flow)
    assert str(run.error).startswith("STAGE_FAILED")
    flow.run_with_retries()
    assert flow.maintenance_runs.runs[run.id] == run
    assert flow.dead_letters.letters == {}


def test_a_suspended_tenants_run_stands_still(flow: Flow) -> None:
    complete_images(flow, "img_1")
    flow.clock.skip(3 * DAY)
    flow.index.delete(flow.acme, ["img_1"])
    flow.tenants.add(replace(flow.acme, status="suspended"))
    run_id = start(flow)
    flow.run()
    assert flow.maintenance_runs.runs[run_id].slices == 0
    flow.tenants.add(flow.acme)
    flow.clock.skip(LOST_AFTER)
    for event in tick(flow)():
        flow.send(event)
    flow.run()
    assert flow.maintenance_runs.runs[run_id].report.repaired == {"row-without-vector": 1}


def test_a_lost_collection_is_filled_again(flow: Flow) -> None:
    complete_images(flow, "img_1", "img_2")
    flow.clock.skip(3 * DAY)
    flow.index.drop_collection(flow.acme)
    assert sweep_to_end(flow, dry_run=True).report.found == {"row-without-vector": 2}
    assert not flow.index.exists(flow.acme)
    sweep_to_end(flow)
    assert flow.index.existing(flow.acme, ["img_1", "img_2"]) == {"img_1", "img_2"}


def test_the_schedule_sweeps_tenants_that_changed_and_no_others(flow: Flow) -> None:
    ticking = tick(flow)
    assert ticking() == []
    flow.maintenance_runs.changed([flow.acme.id], flow.clock.now())
    assert ticking() == []  # nothing is old enough yet
    flow.clock.skip(DAY + LOST_AFTER)
    (event,) = ticking()
    assert (event.tenant_id, event.maintenance_type) == (flow.acme.id, "sweep")
    assert ticking() == []
    flow.send(event)
    flow.run()
    for _ in range(3):
        flow.clock.skip(DAY + LOST_AFTER)
        assert ticking() == []


def test_a_sweep_that_repaired_is_followed_by_another(flow: Flow) -> None:
    complete_images(flow, "img_1")
    flow.clock.skip(3 * DAY)
    flow.index.delete(flow.acme, ["img_1"])
    sweep_to_end(flow)
    flow.clock.skip(DAY + LOST_AFTER)
    (event,) = tick(flow)()
    assert event.maintenance_type == "sweep"


def test_reports_and_tombstones_are_forgotten_in_the_end(flow: Flow) -> None:
    complete_images(flow, "img_1", "img_2")
    flow.images.mark_deleted(flow.acme, "img_1", flow.clock.now())
    flow.clock.skip(3 * DAY)
    first = sweep_to_end(flow)
    assert isinstance(flow.row("img_1"), Tombstone)
    flow.clock.skip(91 * DAY)
    for event in tick(flow)():
        flow.send(event)
    flow.run()
    assert first.id not in flow.maintenance_runs.runs
    assert flow.row("img_1") is None
    assert flow.row("img_2").step is Step.COMPLETED


def test_an_unknown_run_is_dropped(flow: Flow) -> None:
    run = MaintenanceRun("mnt_x", flow.acme.id, "sweep", False, START, START)
    flow.send(slice_of(run, START))
    flow.run()
    assert flow.dead_letters.letters == {}
