"""A sweep finds what contradicts each other, looks again, repairs it once, and leaves everything else alone."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from deeplens.embedding.model import ModelProfile
from deeplens.errors import StoreUnavailable, TenantStoreDenied
from deeplens.images.model import StageResult, Step, Tombstone
from deeplens.maintenance import slices as run_slices
from deeplens.maintenance import sweep as sweep_module
from deeplens.maintenance import sweep_rows
from deeplens.maintenance.model import MaintenanceRun, MaintenanceType
from deeplens.maintenance.slices import LOST_AFTER, slice_of
from deeplens.maintenance.tick import TickMaintenance
from deeplens.vectors.ports import Point
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.harness.api import MODEL, START
from tests.harness.flow import TARGET, Flow

MAINTENANCE = "deeplens.images.maintenance"
DAY = timedelta(days=1)


def made() -> Flow:
    """A flow whose fakes know the tests' time."""
    flow = Flow()
    flow.stores.for_tenant(flow.acme).now = flow.images.now = flow.clock.now
    return flow


@pytest.fixture
def flow() -> Flow:
    return made()


@pytest.fixture(params=[1, 3, 1000], ids="pages of {}".format)
def page_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    for module, name in (
        (sweep_rows, "ROWS_AT_ONCE"),
        (sweep_module, "OBJECTS_AT_ONCE"),
        (sweep_module, "POINTS_AT_ONCE"),
    ):
        monkeypatch.setattr(module, name, request.param)
    return int(request.param)


def completed(flow: Flow, *image_ids: str) -> None:
    for image_id in image_ids:
        flow.accept(image_id)
    flow.run()


def start(flow: Flow, type: MaintenanceType = "sweep", *, dry_run: bool = False) -> str:
    now = flow.clock.now()
    run = MaintenanceRun(f"mnt_{len(flow.maintenance_runs.runs)}", flow.acme.id, type, dry_run, now, now + LOST_AFTER)
    assert flow.maintenance_runs.start(run, flow.sweep_grace)
    flow.send(slice_of(run, now))
    return run.id


def swept(flow: Flow, type: MaintenanceType = "sweep", *, dry_run: bool = False) -> MaintenanceRun:
    """Run to the end, resting as the schedule would."""
    run_id = start(flow, type, dry_run=dry_run)
    flow.run()
    while flow.maintenance_runs.runs[run_id].ended_at is None:
        flow.clock.skip(LOST_AFTER)
        for event in tick(flow)():
            flow.send(event)
        flow.run()
    return flow.maintenance_runs.runs[run_id]


def tick(flow: Flow) -> TickMaintenance:
    return TickMaintenance(flow.maintenance_runs, flow.sweep_grace, flow.sweep_every, flow.clock)


def settled(flow: Flow) -> dict[str, Any]:
    """What a tenant has, in a form that can be compared."""
    rows = {image_id: (row.generation, row.step) for image_id, row in flow.images.rows(flow.acme).items()}
    return {"rows": rows, "objects": flow.objects(), "vectors": flow.index.existing(flow.acme, [*rows, "img_orphan"])}


def orphan_point(flow: Flow, image_id: str, uploaded_at: datetime | None = None) -> None:
    payload = {"image_id": image_id, "uploaded_at": (uploaded_at or START).isoformat()}
    flow.index.upsert(flow.acme, [Point(image_id, [1.0] * MODEL.dimensions, payload)])


def test_a_sound_tenant_has_no_findings_and_changes_nothing(flow: Flow, page_size: int) -> None:
    completed(flow, *(f"img_{n}" for n in range(7)))
    flow.clock.skip(3 * DAY)
    before = settled(flow)
    run = swept(flow)
    assert (run.report.found, run.report.repaired, run.report.bytes_freed) == ({}, {}, 0)
    assert run.report.checked == {"rows": 7, "objects": 28, "vectors": 7}
    assert settled(flow) == before
    assert not flow.publisher.sent


def test_a_row_without_its_vector_is_embedded_again_and_metered_once(flow: Flow, page_size: int) -> None:
    completed(flow, "img_1", "img_2", "img_3", "img_4")
    flow.clock.skip(3 * DAY)
    flow.index.delete(flow.acme, ["img_2", "img_4"])
    run = swept(flow)
    assert run.report.found == run.report.repaired == {"row-without-vector": 2}
    assert flow.index.existing(flow.acme, ["img_2", "img_4"]) == {"img_2", "img_4"}
    assert flow.usage.of("images.completed") == 4


def test_lost_derived_files_are_made_again(flow: Flow, page_size: int) -> None:
    completed(flow, "img_1", "img_2")
    flow.clock.skip(3 * DAY)
    everything = flow.objects()
    flow.stores.for_tenant(flow.acme).delete(["processed/img_1.jpg", "thumbnails/small/img_2.jpg"])
    run = swept(flow)
    assert run.report.repaired == {"row-without-derived": 2}
    assert flow.objects() == everything
    assert flow.row("img_1").step is Step.COMPLETED


def test_an_image_whose_original_is_gone_fails_and_is_not_found_any_more(flow: Flow, page_size: int) -> None:
    completed(flow, "img_1", "img_2")
    flow.clock.skip(3 * DAY)
    flow.stores.for_tenant(flow.acme).delete(["images/img_1.jpg"])
    run = swept(flow)
    assert run.report.repaired == {"row-without-object": 1}
    row = flow.row("img_1")
    assert (row.step, row.error_code, row.generation) == (Step.FAILED, "OBJECT_NOT_FOUND", 2)
    assert flow.index.existing(flow.acme, ["img_1", "img_2"]) == {"img_2"}
    assert swept(flow).report.found == {}


def test_leftovers_of_nobody_are_removed(flow: Flow, page_size: int) -> None:
    completed(flow, "img_1")
    store = flow.stores.for_tenant(flow.acme)
    store.put("images/img_orphan.jpg", b"12345", "image/jpeg")
    store.put("thumbnails/small/img_orphan.jpg", b"123", "image/jpeg")
    store.put("reports/of the tenant.pdf", b"1", "application/pdf")
    orphan_point(flow, "img_orphan")
    flow.clock.skip(3 * DAY)
    run = swept(flow)
    assert run.report.repaired == {"object-without-row": 1, "derived-without-row": 1, "vector-without-row": 1}
    assert run.report.bytes_freed == 8
    assert not [key for key in flow.objects() if "orphan" in key]
    assert "reports/of the tenant.pdf" in flow.objects()
    assert flow.index.count(flow.acme) == 1


@pytest.mark.parametrize("mark", [None, "another installation"])
def test_in_a_bucket_that_is_not_proved_ours_nothing_is_swept(flow: Flow, mark: str | None) -> None:
    completed(flow, "img_1")
    store = flow.stores.for_tenant(flow.acme)
    store.put("images/img_theirs.jpg", b"12345", "image/jpeg")
    store.mark = mark
    flow.clock.skip(3 * DAY)
    dry = swept(flow, dry_run=True)
    run = swept(flow)
    assert dry.report.found == {"object-without-row": 1}
    assert run.error is not None
    assert run.error.startswith("STORE_NOT_OWNED: ")
    assert "images/img_theirs.jpg" in flow.objects()
    store.mark = "ours"
    assert swept(flow).report.repaired == {"object-without-row": 1}
    assert "images/img_theirs.jpg" not in flow.objects()


def test_a_half_done_deletion_is_completed_with_its_receipt(flow: Flow, page_size: int) -> None:
    completed(flow, "img_1", "img_2")
    flow.images.mark_deleted(flow.acme, "img_1", flow.clock.now())
    flow.clock.skip(3 * DAY)
    run = swept(flow)
    assert run.report.repaired == {"half-done-delete": 1}
    row = flow.row("img_1")
    assert isinstance(row, Tombstone)
    assert row.receipt
    assert len(row.receipt["objects"]) == 4
    assert not [key for key in flow.objects() if "img_1" in key]


def test_what_a_finished_deletion_left_behind_is_removed(flow: Flow) -> None:
    completed(flow, "img_1", "img_2")
    flow.images.mark_deleted(flow.acme, "img_1", flow.clock.now())
    flow.images.delete_rows(flow.acme, {"img_1": {"objects": [], "vectors": 0}})
    flow.clock.skip(3 * DAY)
    assert swept(flow).report.repaired == {
        "object-without-row": 1,
        "derived-without-row": 3,
        "vector-without-row": 1,
    }
    assert flow.index.count(flow.acme) == 1


def test_a_dry_run_says_the_same_and_touches_nothing(flow: Flow) -> None:
    completed(flow, "img_1", "img_2", "img_3")
    flow.stores.for_tenant(flow.acme).put("images/img_orphan.jpg", b"12345", "image/jpeg")
    orphan_point(flow, "img_orphan")
    flow.clock.skip(3 * DAY)
    flow.index.delete(flow.acme, ["img_2"])
    flow.stores.for_tenant(flow.acme).delete(["images/img_3.jpg"])
    before = settled(flow)
    dry = swept(flow, dry_run=True)
    assert settled(flow) == before
    wet = swept(flow)
    assert (dry.report.found, dry.report.bytes_freed) == (wet.report.repaired, 5)
    assert (dry.report.repaired, dry.report.examples) == ({}, wet.report.examples)
    assert dry.report.examples[0] == {"kind": "row-without-vector", "subject": "img_2", "detail": "deeplens-visual 1"}


def test_what_is_younger_than_the_grace_period_is_left_alone(flow: Flow) -> None:
    completed(flow, "img_1", "img_2", "img_3")
    store = flow.stores.for_tenant(flow.acme)
    store.put("images/img_orphan.jpg", b"12345", "image/jpeg")
    orphan_point(flow, "img_orphan", flow.clock.now())
    flow.index.delete(flow.acme, ["img_1"])
    store.delete(["images/img_2.jpg"])
    flow.images.mark_deleted(flow.acme, "img_3", flow.clock.now())
    assert swept(flow).report.found == {}


def test_a_finding_that_is_gone_at_the_second_look_is_none(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    completed(flow, "img_1")
    flow.clock.skip(3 * DAY)
    store = flow.stores.for_tenant(flow.acme)
    # A listing that lags behind: what is there, it does not show.
    monkeypatch.setattr(sweep_rows, "listed_keys", lambda *_: set())
    assert swept(flow).report.found == {}
    assert flow.row("img_1").step is Step.COMPLETED
    # And one that shows what is gone.
    store.put("images/img_orphan.jpg", b"1", "image/jpeg")
    flow.clock.skip(3 * DAY)
    monkeypatch.setattr(sweep_module, "latest", lambda *_: [])
    assert swept(flow).report.found == {}


def test_the_other_model_is_swept_as_well(flow: Flow) -> None:
    flow.rollouts.register(ModelProfile(TARGET))
    flow.index.create_collection(flow.acme.using(TARGET))
    assert flow.rollouts.start(flow.acme, TARGET, "rol_1", flow.clock.now())
    completed(flow, "img_1", "img_2")
    flow.clock.skip(3 * DAY)
    flow.index.delete(flow.acme.using(TARGET), ["img_1"])
    owner = flow.acme.using(TARGET)
    flow.index.upsert(owner, [Point("img_orphan", [1.0] * TARGET.dimensions, {"image_id": "img_orphan"})])
    assert swept(flow).report.repaired == {"row-without-vector": 1, "vector-without-row": 1}
    assert flow.index.existing(owner, ["img_1", "img_2", "img_orphan"]) == {"img_1", "img_2"}


def test_an_image_that_its_model_cannot_embed_is_no_finding(flow: Flow) -> None:
    completed(flow, "img_1")
    result = StageResult("img_9", 1, Step.FAILED, "embed", flow.clock.now(), error_code="IMAGE_CORRUPT")
    flow.accept("img_9")
    flow.images.advance(flow.acme, [result])
    flow.records.clear()
    flow.clock.skip(3 * DAY)
    assert swept(flow).report.found == {}


def test_a_slice_ends_in_time_and_the_next_one_goes_on(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    completed(flow, *(f"img_{n}" for n in range(5)))
    flow.clock.skip(3 * DAY)
    monkeypatch.setattr(run_slices, "SLICE_SECONDS", -1.0)
    monkeypatch.setattr(sweep_rows, "ROWS_AT_ONCE", 2)
    run = swept(flow)
    assert run.slices == 3 + 1 + 1 + 1  # pages of rows, objects and vectors, and the look beyond the last
    assert run.report.checked == {"rows": 5, "objects": 20, "vectors": 5}


def test_a_slice_that_comes_twice_makes_no_second_run(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    completed(flow, *(f"img_{n}" for n in range(4)))
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
    completed(flow, "img_1")
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
    completed(flow, *(f"img_{n}" for n in range(7)))
    flow.clock.skip(3 * DAY)
    flow.index.delete(flow.acme, [f"img_{n}" for n in range(7)])
    monkeypatch.setattr(sweep_rows, "ROWS_AT_ONCE", 1)
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
    completed(flow, "img_1")
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
    completed(flow, "img_1")
    flow.clock.skip(3 * DAY)
    store = flow.stores.for_tenant(flow.acme)
    store.failure = TenantStoreDenied("no bucket")
    run = swept(flow)
    assert (run.error, run.report.found) == ("TENANT_STORE_DENIED: no bucket", {})
    assert flow.dead_letters.letters == {}
    assert flow.row("img_1").step is Step.COMPLETED
    store.failure = None
    flow.clock.skip(DAY + LOST_AFTER)
    (event,) = tick(flow)()
    assert event.maintenance_type == "sweep"


def test_a_run_that_breaks_says_so_and_its_retry_changes_nothing(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    completed(flow, "img_1")
    flow.clock.skip(3 * DAY)
    monkeypatch.setattr(flow.images, "after", lambda *_: 1 / 0)
    run = swept(flow)
    assert str(run.error).startswith("STAGE_FAILED")
    flow.run_with_retries()
    assert flow.maintenance_runs.runs[run.id] == run
    assert flow.dead_letters.letters == {}


def test_a_suspended_tenants_run_stands_still(flow: Flow) -> None:
    completed(flow, "img_1")
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
    completed(flow, "img_1", "img_2")
    flow.clock.skip(3 * DAY)
    flow.index.drop_collection(flow.acme)
    assert swept(flow, dry_run=True).report.found == {"row-without-vector": 2}
    assert not flow.index.exists(flow.acme)
    swept(flow)
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
    completed(flow, "img_1")
    flow.clock.skip(3 * DAY)
    flow.index.delete(flow.acme, ["img_1"])
    swept(flow)
    flow.clock.skip(DAY + LOST_AFTER)
    (event,) = tick(flow)()
    assert event.maintenance_type == "sweep"


def test_reports_and_tombstones_are_forgotten_in_the_end(flow: Flow) -> None:
    completed(flow, "img_1", "img_2")
    flow.images.mark_deleted(flow.acme, "img_1", flow.clock.now())
    flow.clock.skip(3 * DAY)
    first = swept(flow)
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


def test_storage_is_optimised_of_what_failed_images_left(flow: Flow) -> None:
    completed(flow, "img_1", "img_2")
    lost = StageResult("img_2", 2, Step.FAILED, "embed", flow.clock.now(), error_code="IMAGE_CORRUPT")
    flow.images.advance(flow.acme, [lost])
    flow.clock.skip(3 * DAY)
    kept = {key for key in flow.objects() if "img_2" not in key} | {"images/img_2.jpg"}
    dry = swept(flow, "storage-optimisation", dry_run=True)
    assert dry.report.found == {"derived-of-failed": 3}
    run = swept(flow, "storage-optimisation")
    assert run.report.repaired == {"derived-of-failed": 3}
    assert run.report.bytes_freed == dry.report.bytes_freed > 0
    assert flow.objects() == kept
    assert swept(flow).report.found == {}


class AnyDamage(RuleBasedStateMachine):
    """Whatever is lost or left over: after two sweeps nothing contradicts, and no sound image was touched."""

    images = st.sampled_from([f"img_{n}" for n in range(6)])
    parts = st.sampled_from(["processed/{}.jpg", "thumbnails/small/{}.jpg", "thumbnails/medium/{}.jpg"])

    @initialize()
    def begin(self) -> None:
        self.flow, self.lost, self.buried = made(), set[str](), set[str]()
        completed(self.flow, *(f"img_{n}" for n in range(6)))
        self.flow.clock.skip(3 * DAY)

    @rule(image_id=images)
    def lose_vector(self, image_id: str) -> None:
        self.flow.index.delete(self.flow.acme, [image_id])

    @rule(image_id=images, part=parts)
    def lose_derived(self, image_id: str, part: str) -> None:
        self.flow.stores.for_tenant(self.flow.acme).delete([part.format(image_id)])

    @rule(image_id=images)
    def lose_original(self, image_id: str) -> None:
        self.flow.stores.for_tenant(self.flow.acme).delete([f"images/{image_id}.jpg"])
        self.lost.add(image_id)

    @rule(image_id=images)
    def half_delete(self, image_id: str) -> None:
        self.flow.images.mark_deleted(self.flow.acme, image_id, self.flow.clock.now())
        self.buried.add(image_id)

    @rule(image_id=images, part=parts)
    def leave_object(self, image_id: str, part: str) -> None:
        self.flow.stores.for_tenant(self.flow.acme).put(part.format(f"{image_id}x"), b"1", "image/jpeg")

    @rule(image_id=images)
    def leave_vector(self, image_id: str) -> None:
        orphan_point(self.flow, f"{image_id}x")

    @precondition(lambda self: hasattr(self, "flow"))
    @rule()
    def sweep(self) -> None:
        for _ in range(2):
            self.flow.clock.skip(3 * DAY)
            swept(self.flow)
        live = {f"img_{n}" for n in range(6)} - self.buried
        sound = live - self.lost
        rows = self.flow.images.rows(self.flow.acme)
        assert {image_id for image_id, row in rows.items() if row.step is Step.COMPLETED} == sound
        assert {image_id for image_id, row in rows.items() if row.step is Step.FAILED} == live & self.lost
        assert self.flow.index.count(self.flow.acme) == len(sound)
        objects = self.flow.objects()
        assert {key for image_id in sound for key in sweep_rows.expected(self.store, rows[image_id])} <= objects
        assert {key.rpartition("/")[2].partition(".")[0] for key in objects} <= live

    @property
    def store(self) -> Any:
        return self.flow.stores.for_tenant(self.flow.acme)

    @invariant()
    def metered_once(self) -> None:
        if hasattr(self, "flow"):
            assert self.flow.usage.of("images.completed") == 6


class MuchDamage(AnyDamage):
    """The same, in more histories."""


STEPS = settings(stateful_step_count=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
AnyDamage.TestCase.settings = settings(STEPS, max_examples=8)
MuchDamage.TestCase.settings = settings(STEPS, max_examples=200)
TestAnyDamage = AnyDamage.TestCase
TestMuchDamage = pytest.mark.long(MuchDamage.TestCase)


@pytest.fixture(autouse=True)
def _no_leftover_threads(flow: Flow) -> Iterator[None]:
    yield
    flow.workers.shutdown(wait=False)
