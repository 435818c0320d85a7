"""Fixtures and helpers for tests that damage a tenant's data and sweep it."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from deeplens.maintenance import sweep
from deeplens.maintenance import sweep as sweep_module
from deeplens.maintenance.model import MaintenanceRun, MaintenanceType
from deeplens.maintenance.slices import LOST_AFTER, TickMaintenance, slice_of
from deeplens.vectors.ports import Point

from tests.harness.api import MODEL, START
from tests.harness.flow import Flow

MAINTENANCE = "deeplens.images.maintenance"
DAY = timedelta(days=1)


def new_flow() -> Flow:
    """Return a flow whose fakes use the clock of the test."""
    flow = Flow()
    flow.stores.for_tenant(flow.acme).now = flow.images.now = flow.clock.now
    return flow


@pytest.fixture
def flow() -> Iterator[Flow]:
    flow = new_flow()
    yield flow
    flow.workers.shutdown(wait=False)


@pytest.fixture(params=[1, 3, 1000], ids="pages of {}".format)
def page_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    for module, name in (
        (sweep, "ROWS_AT_ONCE"),
        (sweep_module, "OBJECTS_AT_ONCE"),
        (sweep_module, "POINTS_AT_ONCE"),
    ):
        monkeypatch.setattr(module, name, request.param)
    return int(request.param)


def complete_images(flow: Flow, *image_ids: str) -> None:
    for image_id in image_ids:
        flow.accept(image_id)
    flow.run()


def start(flow: Flow, type: MaintenanceType = "sweep", *, dry_run: bool = False) -> str:
    now = flow.clock.now()
    run = MaintenanceRun(f"mnt_{len(flow.maintenance_runs.runs)}", flow.acme.id, type, dry_run, now, now + LOST_AFTER)
    assert flow.maintenance_runs.start(run, flow.sweep_grace)
    flow.send(slice_of(run, now))
    return run.id


def sweep_to_end(flow: Flow, type: MaintenanceType = "sweep", *, dry_run: bool = False) -> MaintenanceRun:
    """Start a run and process its slices to the end, as the schedule would; return the run."""
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


def snapshot_of(flow: Flow) -> dict[str, Any]:
    """Return the tenant's rows, objects and vectors in a comparable form."""
    rows = {image_id: (row.generation, row.step) for image_id, row in flow.images.rows(flow.acme).items()}
    return {"rows": rows, "objects": flow.objects(), "vectors": flow.index.existing(flow.acme, [*rows, "img_orphan"])}


def orphan_point(flow: Flow, image_id: str, uploaded_at: datetime | None = None) -> None:
    payload = {"image_id": image_id, "uploaded_at": (uploaded_at or START).isoformat()}
    flow.index.upsert(flow.acme, [Point(image_id, [1.0] * MODEL.dimensions, payload)])
