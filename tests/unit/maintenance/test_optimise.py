"""Thumbnails that have come of age: dropped, counted, made again by whoever looks, and missed by no sweep."""

from datetime import timedelta

import pytest
from deeplens.images.keys import thumbnail_key
from deeplens.images.model import Step
from deeplens.images.thumbnails import Thumbnails
from deeplens.maintenance.maintain import Maintain
from deeplens.maintenance.model import MaintenanceRun, MaintenanceType
from deeplens.maintenance.slices import slice_of

from tests.harness.flow import Flow
from tests.harness.machine import Inline

DAY = timedelta(days=1)
KEPT = 30 * DAY


@pytest.fixture
def flow() -> Flow:
    flow = Flow(workers=Inline())
    flow.images.now = flow.stores.for_tenant(flow.acme).now = flow.clock.now
    return flow


def keep_thumbnails(flow: Flow, kept: timedelta | None) -> None:
    flow.thumbnails_kept = kept
    flow.handlers["deeplens.images.maintenance"] = [flow.handler(Maintain)]


def run(flow: Flow, type: MaintenanceType = "storage-optimisation", *, dry_run: bool = False) -> MaintenanceRun:
    now = flow.clock.now()
    made = MaintenanceRun(f"mnt_{len(flow.maintenance_runs.runs)}", flow.acme.id, type, dry_run, now, now)
    assert flow.maintenance_runs.start(made, flow.sweep_grace)
    flow.send(slice_of(made, now))
    flow.run()
    ended = flow.maintenance_runs.runs[made.id]
    assert (ended.ended_at is not None, ended.error) == (True, None)
    return ended


def thumbnails(flow: Flow) -> set[str]:
    return {key for key in flow.objects() if key.startswith("thumbnails/")}


def of_age(flow: Flow) -> None:
    """Two images whose thumbnails have come of age, and one whose have not."""
    keep_thumbnails(flow, KEPT)
    flow.accept("img_1")
    flow.accept("img_2")
    flow.run()
    flow.clock.skip(KEPT)
    flow.accept("img_3")
    flow.run()
    flow.clock.skip(2 * DAY)


def test_a_dry_run_says_how_many_bytes_would_be_freed_and_a_run_frees_them_once(flow: Flow) -> None:
    of_age(flow)
    before = flow.objects()
    dry = run(flow, dry_run=True)
    assert (dry.report.found, dry.report.repaired, flow.objects()) == ({"thumbnail-not-needed": 4}, {}, before)

    real = run(flow)
    assert real.report.repaired == {"thumbnail-not-needed": 4}
    assert real.report.bytes_freed == dry.report.bytes_freed > 0
    assert before - flow.objects() == {thumbnail_key(i, s) for i in ("img_1", "img_2") for s in ("small", "medium")}
    assert (run(flow).report.found, run(flow).report.bytes_freed) == ({}, 0)


def test_without_the_setting_every_thumbnail_stays(flow: Flow) -> None:
    of_age(flow)
    keep_thumbnails(flow, None)
    assert run(flow).report.found == {}
    assert len(thumbnails(flow)) == 6


def test_one_that_somebody_looks_at_is_made_again_and_kept(flow: Flow) -> None:
    of_age(flow)
    looked_at = flow.stores.for_tenant(flow.acme).get(thumbnail_key("img_1", "small"))
    run(flow)
    made = Thumbnails(flow.stores, flow.images, flow.decoder)(flow.acme, flow.row("img_1"), "small")
    assert len(made) == pytest.approx(len(looked_at), rel=0.5)

    assert run(flow).report.found == {}
    assert thumbnail_key("img_1", "small") in flow.objects()


def test_a_sweep_does_not_make_again_what_was_dropped_and_still_misses_what_was_not(flow: Flow) -> None:
    of_age(flow)
    run(flow)
    dropped = flow.objects()
    assert run(flow, "sweep").report.found == {}
    assert flow.objects() == dropped

    flow.stores.for_tenant(flow.acme).delete(["processed/img_1.jpg", thumbnail_key("img_3", "small")])
    assert run(flow, "sweep").report.repaired == {"row-without-derived": 2}
    assert {"processed/img_1.jpg", thumbnail_key("img_3", "small")} <= flow.objects()
    assert {flow.row(f"img_{n}").step for n in (1, 2, 3)} == {Step.COMPLETED}
