"""Uploads that stop at each of their side effects: they are finished later, or leave nothing."""

from datetime import timedelta

import pytest
from deeplens.bootstrap.container import Container
from deeplens.images.keys import derived_keys, original_key
from deeplens.images.model import ImageRecord, Step
from deeplens.maintenance.model import MaintenanceRun
from deeplens.maintenance.sweep import Sweep
from deeplens.settings import Settings

from local.chaos.faults import FaultyContainer
from local.runner.schedule_source import schedule_event
from local.stack.stack import Stack, settings_for
from tests.e2e.conftest import TenantClient, eventually, new_client, picture
from tests.harness.uploads import jpeg_upload, send_upload

pytestmark = pytest.mark.xdist_group("second stack")

EFFECTS = ("pending.admit", "store.put", "images.insert", "publisher.publish")
POINTS = [f"{effect}:{when}" for effect in EFFECTS for when in ("before", "after")]


@pytest.fixture(scope="module")
def uploader(stack: Stack, parts: Container) -> TenantClient:
    return new_client(stack, parts, "tenant_stopping", "nfs")


class Died(BaseException):
    """This process would be gone."""


def die(point: str) -> None:
    raise Died(point)


def stopped_upload(own: Settings, uploader: TenantClient, point: str, seed: int) -> str:
    """An upload whose process dies at a point; returns the image's id."""
    body, image_id = picture(seed), f"img_stopped{seed}"
    upload = jpeg_upload(image_id, body)
    # The clients of the run before still count as company, which makes a tenant's window too small for all of these.
    alone = own.model_copy(update={"tenant_window_shared": own.tenant_window})
    parts: Container = FaultyContainer(alone, lambda passed: passed == point, die)
    with pytest.raises(Died):
        send_upload(parts, uploader.tenant, upload)
    return image_id


def tick_when_all_is_overdue(stack: Stack, uploader: TenantClient) -> None:
    with uploader.parts.connections.platform() as connection:
        statement = "UPDATE pending_images SET due = now() - interval '1 second' WHERE tenant_id = %s"
        connection.execute(statement, [uploader.tenant.id])
    assert stack.runner is not None
    assert not stack.runner.pools["on_schedule"].invoke(schedule_event()).failed


def sweep(uploader: TenantClient) -> dict[str, int]:
    """What a sweep finds, and repairs, that leaves nothing alone for being young."""
    now = uploader.parts.clock.now()
    run = MaintenanceRun("mnt_1", uploader.tenant.id, "sweep", False, now, now)
    pages = uploader.parts.build(Sweep).pages(uploader.tenant, run, now + timedelta(minutes=1))
    return {kind: count for page in pages for kind, count in page.report.found.items()}


def test_an_upload_that_stops_anywhere_is_finished_or_leaves_nothing(stack: Stack, uploader: TenantClient) -> None:
    own = settings_for(stack.environment)
    stopped = [stopped_upload(own, uploader, point, seed) for seed, point in enumerate(POINTS)]
    tick_when_all_is_overdue(stack, uploader)
    eventually(uploader.pending, lambda count: count == 0)

    rows = uploader.parts.images.find(uploader.tenant, stopped)
    assert sorted(rows) == stopped[5:]
    assert {row.step for row in rows.values() if isinstance(row, ImageRecord)} == {Step.COMPLETED}
    assert uploader.parts.index.existing(uploader.tenant, stopped) == set(rows)
    assert uploader.parts.index.count(uploader.tenant) == len(rows)
    assert uploader.rows("SELECT 1 FROM dead_letters WHERE tenant_id = %s", [uploader.tenant.id]) == 0
    assert sweep(uploader) == {"object-without-row": 2}
    kept = {key for one in rows for key in (original_key(one, ".jpg"), *derived_keys(one))}
    assert set(uploader.objects()) == kept
    assert sweep(uploader) == {}


@pytest.mark.parametrize("point", POINTS)
def test_a_client_that_repeats_a_stopped_upload_has_one_image(stack: Stack, uploader: TenantClient, point: str) -> None:
    seed = 100 + POINTS.index(point)
    image_id = stopped_upload(settings_for(stack.environment), uploader, point, seed)
    body = picture(seed)
    upload = jpeg_upload(image_id, body)
    accepted = send_upload(uploader.parts, uploader.tenant, upload)

    assert accepted.media.id == image_id
    assert uploader.until_ended(image_id)["status"] == "completed"
    assert [entry["stage"] for entry in uploader.image(image_id)["timeline"]].count("accept") == 1
    assert uploader.parts.index.existing(uploader.tenant, [image_id]) == {image_id}
