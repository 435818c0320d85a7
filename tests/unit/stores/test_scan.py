"""A tenant's own store followed: what is new, changed, gone and back, whatever comes twice or in between."""

from dataclasses import replace
from datetime import timedelta

import pytest
from deeplens.events.maintenance import ImageMaintenance
from deeplens.events.videos import VideoUploaded
from deeplens.images.model import ImageRecord, Step, Tombstone
from deeplens.maintenance.model import MaintenanceRun
from deeplens.maintenance.slices import slice_of
from deeplens.stores.model import TenantStore
from deeplens.stores.observe import ObserveObjects

from tests.fakes.storage import MemoryStore
from tests.harness.api import START, picture
from tests.harness.films import BLUE, WHITE, film
from tests.harness.flow import Flow
from tests.harness.uploads import jpeg_upload, refuse_next_row, send_upload


def registered(flow: Flow, **changes: object) -> tuple[TenantStore, MemoryStore]:
    fields = {"id": "sto_a", "tenant_id": "tenant_acme", "kind": "s3", "mode": "reference", "container": "photos"}
    store = TenantStore(**fields | {"created_at": START, "state": "ready"} | changes)  # type: ignore[arg-type]
    flow.registered_stores.save(store)
    return store, flow.stores.add(store)


def scan(flow: Flow, store: TenantStore, number: int = 1) -> MaintenanceRun:
    """Run a scan to its end; returns it."""
    now = flow.clock.now()
    run = MaintenanceRun(f"mnt_{number}", store.tenant_id, "store-scan", False, now, now, f"{store.id}:list:")
    assert flow.maintenance_runs.start(run, timedelta())
    flow.send(slice_of(run, now), f"scan {number}")
    flow.run()
    return flow.maintenance_runs.runs[run.id]


def live(flow: Flow) -> dict[str, ImageRecord]:
    """Live images by file name."""
    return {row.file_name: row for row in flow.images.rows(flow.acme).values()}


def look(flow: Flow, store: TenantStore, *keys: str) -> None:
    event = ImageMaintenance(
        maintenance_type="store-objects",
        tenant_id=store.tenant_id,
        subject="tenant",
        job=store.id,
        keys=list(keys),
        requested_at=flow.clock.now(),
    )
    flow.send(event, f"look {flow.clock.now()}")
    flow.run()


def test_a_scan_makes_a_searchable_image_of_each_picture_within_its_window() -> None:
    flow = Flow()
    store, source = registered(flow)
    for number in range(10):
        source.put(f"a/{number}.jpg", picture(number), "image/jpeg")
    source.put("notes.txt", b"no picture", "text/plain")

    run = scan(flow, store)

    assert run.ended_at is not None
    assert run.error is None
    assert run.report.found == {"object-new": 10, "object-ignored": 1}
    assert run.report.checked["objects"] == 11
    assert run.slices > 3  # three images at a time
    assert {row.step for row in live(flow).values()} == {Step.COMPLETED}
    assert len(live(flow)) == flow.index.count(flow.acme) == 10
    assert all(row.sha256 and row.storage_path.startswith("s3://sto_a/a/") for row in live(flow).values())
    assert not list(flow.stores.for_tenant(flow.acme).list("images/"))
    assert flow.pending.count("tenant_acme") == 0


def test_a_second_scan_finds_nothing_new() -> None:
    flow = Flow()
    store, source = registered(flow)
    source.put("a.jpg", picture(1), "image/jpeg")
    scan(flow, store)
    before = live(flow)
    assert scan(flow, store, 2).report.found == {}
    assert live(flow) == before


def test_another_object_under_a_key_is_another_image_and_the_first_one_goes() -> None:
    flow = Flow()
    store, source = registered(flow)
    source.put("a.jpg", picture(1), "image/jpeg")
    scan(flow, store)
    first = live(flow)["a.jpg"].id
    source.put("a.jpg", picture(2), "image/jpeg")
    assert scan(flow, store, 2).report.found == {"object-changed": 1}
    assert live(flow)["a.jpg"].id != first
    assert isinstance(flow.images.find(flow.acme, [first])[first], Tombstone)
    assert flow.index.existing(flow.acme, [first]) == set()


@pytest.mark.parametrize(
    ("removal", "left", "state"), [("delete", 0, "removed"), ("keep", 1, "kept"), ("ask", 1, "asked")]
)
def test_what_becomes_of_an_image_whose_object_goes(removal: str, left: int, state: str) -> None:
    flow = Flow()
    store, source = registered(flow, removal=removal)
    source.put("a.jpg", picture(1), "image/jpeg")
    scan(flow, store)
    source.delete(["a.jpg"])
    assert scan(flow, store, 2).report.found == {"object-removed": 1}
    assert len(live(flow)) == flow.index.count(flow.acme) == left
    assert flow.store_objects.counts(flow.acme, store.id) == {state: 1}
    assert scan(flow, store, 3).report.found == {}


def test_an_object_that_comes_back_is_an_image_again() -> None:
    flow = Flow()
    store, source = registered(flow)
    source.put("a.jpg", picture(1), "image/jpeg")
    scan(flow, store)
    first = live(flow)["a.jpg"].id
    source.delete(["a.jpg"])
    look(flow, store, "a.jpg")
    assert live(flow) == {}
    source.put("a.jpg", picture(1), "image/jpeg")  # the same bytes, the same etag
    look(flow, store, "a.jpg")
    assert live(flow)["a.jpg"].id != first
    assert live(flow)["a.jpg"].step is Step.COMPLETED


def test_an_image_that_was_deleted_here_stays_deleted_while_its_object_is_the_same() -> None:
    flow = Flow()
    store, source = registered(flow)
    source.put("a.jpg", picture(1), "image/jpeg")
    scan(flow, store)
    flow.images.mark_deleted(flow.acme, live(flow)["a.jpg"].id, flow.clock.now())
    scan(flow, store, 2)
    look(flow, store, "a.jpg")
    assert live(flow) == {}
    assert flow.pending.count("tenant_acme") == 0


def test_notifications_scans_and_repeats_make_one_image() -> None:
    flow = Flow()
    store, source = registered(flow)
    source.put("a.jpg", picture(1), "image/jpeg")
    look(flow, store, "a.jpg", "a.jpg", "../a.jpg", "nothing.jpg")
    look(flow, store, "a.jpg")
    scan(flow, store)
    assert len(live(flow)) == flow.index.count(flow.acme) == 1


def test_what_a_crash_cut_off_is_made_good_by_the_next_look() -> None:
    flow = Flow()
    store, source = registered(flow)
    source.put("a.jpg", picture(1), "image/jpeg")
    forgetful, save = flow.store_objects, flow.store_objects.save
    forgetful.save = lambda *_, **__: None  # type: ignore[method-assign]
    look(flow, store, "a.jpg")
    forgetful.save = save  # type: ignore[method-assign]
    look(flow, store, "a.jpg")
    assert len(live(flow)) == flow.index.count(flow.acme) == 1
    assert flow.store_objects.counts(flow.acme, store.id) == {"present": 1}


def test_a_file_that_was_replaced_before_it_was_read_fails_and_the_new_one_takes_its_place() -> None:
    flow = Flow()
    store, source = registered(flow)
    source.put("a.jpg", picture(1), "image/jpeg")
    event = ImageMaintenance(
        maintenance_type="store-objects",
        tenant_id=store.tenant_id,
        subject="tenant",
        job=store.id,
        keys=["a.jpg"],
        requested_at=START,
    )
    flow.send(event, "look")
    flow.deliver("deeplens.images.maintenance")
    source.put("a.jpg", picture(2), "image/jpeg")
    flow.run()
    assert live(flow)["a.jpg"].error_code == "OBJECT_CHANGED"
    look(flow, store, "a.jpg")
    assert live(flow)["a.jpg"].step is Step.COMPLETED


@pytest.mark.parametrize("changes", [{"state": "incomplete"}, {"mode": "managed"}])
def test_a_store_that_is_not_ready_ends_its_scan_with_the_reason(changes: dict[str, str]) -> None:
    flow = Flow()
    store, _ = registered(flow)
    flow.registered_stores.save(replace(store, **changes))  # type: ignore[arg-type]
    assert (scan(flow, store).error or "").startswith("STORE_NOT_READY")


def test_another_tenants_store_is_not_scanned_and_its_objects_not_read() -> None:
    flow = Flow()
    store, source = registered(flow, tenant_id="tenant_other")
    source.put("a.jpg", picture(1), "image/jpeg")
    stolen = replace(store, tenant_id="tenant_acme")
    assert (scan(flow, stolen).error or "").startswith("STORE_NOT_READY")
    look(flow, stolen, "a.jpg")
    assert live(flow) == {}


def test_a_full_quota_ends_the_scan_with_that_reason() -> None:
    flow = Flow()
    store, source = registered(flow)
    for number in range(4):
        source.put(f"{number}.jpg", picture(number), "image/jpeg")
    flow.tenants.add(replace(flow.acme, limits=replace(flow.acme.limits, max_images=2)))
    assert (scan(flow, store).error or "").startswith("QUOTA_EXCEEDED")
    assert len(live(flow)) == 2
    assert flow.pending.count("tenant_acme") == 0


def test_videos_of_a_store_are_read_where_they_are_and_go_with_their_object() -> None:
    flow = Flow()
    store, source = registered(flow)
    source.put("2026/party.mp4", film(), "video/mp4")
    source.put("programs/main.ts", b"let x = 1", "text/plain")

    assert scan(flow, store).report.found == {"object-new": 1, "object-ignored": 1}
    (known,) = flow.store_objects.find(flow.acme, store.id, ["2026/party.mp4"]).values()
    video = flow.video(known.image_id)
    assert (video.status, video.storage_path) == ("completed", "s3://sto_a/2026/party.mp4")
    assert flow.index.count(flow.acme) == video.frames > 0
    assert not list(flow.stores.for_tenant(flow.acme).list("videos/"))
    assert scan(flow, store, 2).report.found == {"object-ignored": 1}

    source.delete(["2026/party.mp4"])
    look(flow, store, "2026/party.mp4")
    assert isinstance(flow.video(known.image_id), Tombstone)
    assert flow.index.count(flow.acme) == 0


def test_a_video_that_was_replaced_before_it_was_read_gives_way_to_the_new_one() -> None:
    flow = Flow()
    store, source = registered(flow)
    source.put("party.mp4", film(), "video/mp4")
    old = flow.build(ObserveObjects).present(flow.acme, store, list(source.list()))
    source.put("party.mp4", film((WHITE, BLUE)), "video/mp4")
    for event in old.events:
        flow.send(event)
    flow.run()
    (late,) = [event for event in old.events if isinstance(event, VideoUploaded)]
    assert (flow.video(late.video_id).status, flow.video(late.video_id).error_code) == ("failed", "OBJECT_CHANGED")

    look(flow, store, "party.mp4")
    (known,) = flow.store_objects.find(flow.acme, store.id, ["party.mp4"]).values()
    assert flow.video(known.image_id).status == "completed"
    assert isinstance(flow.video(late.video_id), Tombstone)


def test_an_image_that_takes_the_place_of_one_beyond_the_quota_is_processed_at_once() -> None:
    flow = Flow(window=1)
    store, source = registered(flow)
    source.put("a.jpg", picture(1), "image/jpeg")
    refuse_next_row(flow, lambda: send_upload(flow, flow.acme, jpeg_upload("img_waiting", picture(2))))
    scan(flow, store)
    assert flow.row("img_waiting").step is Step.COMPLETED
