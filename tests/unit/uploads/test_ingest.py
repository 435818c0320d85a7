"""From a bucket's notification to an accepted image, over fakes: whatever stops, repeats or cheats."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from deeplens.errors import StoreUnavailable, TenantStoreDenied
from deeplens.events.bucket import ObjectLocation
from deeplens.events.failures import ProcessingFailed
from deeplens.events.topics import IMAGES_UPLOADED
from deeplens.images.model import MediaQuery, Step
from deeplens.tenants.limits import ResourceLimits
from deeplens.tenants.model import DuplicatePolicy
from deeplens.uploads.model import CLAIMED_FOR, DirectUpload
from deeplens.uploads.tick import TickUploads

from tests.fakes.retries import message
from tests.harness.api import MP4_HEAD, START, picture
from tests.harness.films import film
from tests.harness.flow import OBJECTS, Flow, no_report
from tests.harness.uploads import jpeg_upload, send_upload

KEY = "uploads/upl_a"


class Crash(BaseException):
    """The process ends here."""


@pytest.fixture
def flow() -> Flow:
    return Flow()


def upload(flow: Flow, body: bytes | None = None, **declared: Any) -> DirectUpload:
    """An open upload, with its file in the store."""
    body = picture(1) if body is None else body
    flow.stores.for_tenant(flow.acme).put(KEY, body, "text/html")
    given = {"file_name": "a.jpg", "size_bytes": len(body), "tags": ("sea",), "metadata": {"iso": 200}} | declared
    times = {"created_at": START, "expires_at": START + timedelta(days=1), "due": START + timedelta(hours=1)}
    return flow.uploads.add(DirectUpload("tenant_acme", "upl_a", **given, **times))


def place(key: str = KEY, bucket: str = "tenant-acme", source: str = "aws:s3") -> ObjectLocation:
    return ObjectLocation(source, bucket, key)


def found(flow: Flow) -> DirectUpload:
    row = flow.uploads.find("tenant_acme", "upl_a")
    assert row is not None
    return row


def tick(flow: Flow) -> None:
    TickUploads(flow.uploads, flow.tenants, flow.stores, flow.object_queue, flow.clock)()


def test_an_uploaded_file_becomes_a_searchable_image(flow: Flow) -> None:
    body = picture(1)
    upload(flow, body, sha256=hashlib.sha256(body).hexdigest())

    assert flow.notify(place()) == {"batchItemFailures": []}
    flow.run()

    row = flow.row("img_a")
    assert (row.step, row.tags, row.metadata, row.size_bytes) == (Step.COMPLETED, ("sea",), {"iso": 200}, len(body))
    assert row.sha256 == hashlib.sha256(body).hexdigest()
    assert found(flow).status == "ingested"
    store = flow.stores.for_tenant(flow.acme)
    assert KEY not in flow.objects()
    assert store.get("images/img_a.jpg") == body
    assert store.head("images/img_a.jpg").content_type == "image/jpeg"


def test_a_notification_that_comes_again_and_again_is_one_image(flow: Flow) -> None:
    upload(flow)
    for _ in range(2):
        flow.notify(place(), place())
    flow.run()
    flow.notify(place())

    assert flow.images.totals(flow.acme).images == 1
    assert flow.row("img_a").step is Step.COMPLETED
    assert not flow.records[IMAGES_UPLOADED.name]


def crash_once(owner: Any, method: str, when: str) -> None:
    """End the process just before or after the next call of a method."""
    genuine = getattr(owner, method)

    def crash(*arguments: Any, **named: Any) -> Any:
        if when == "after":
            genuine(*arguments, **named)
        setattr(owner, method, genuine)
        raise Crash

    setattr(owner, method, crash)


STEPS: list[tuple[str, Callable[[Flow], Any], str]] = [
    ("claim", lambda flow: flow.uploads, "claim"),
    ("head", lambda flow: flow.stores.for_tenant(flow.acme), "head"),
    ("copy", lambda flow: flow.stores.for_tenant(flow.acme), "copy"),
    ("read the copy", lambda flow: flow.stores.for_tenant(flow.acme), "get"),
    ("pending", lambda flow: flow.pending, "admit"),
    ("row", lambda flow: flow.images, "insert"),
    ("end", lambda flow: flow.uploads, "end"),
    ("delete", lambda flow: flow.stores.for_tenant(flow.acme), "delete"),
    ("publish", lambda flow: flow.publisher, "publish"),
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("part", "method"), [pytest.param(p, m, id=name) for name, p, m in STEPS])
def test_a_crash_anywhere_is_harmless(flow: Flow, part: Callable[[Flow], Any], method: str, when: str) -> None:
    upload(flow)
    crash_once(part(flow), method, when)
    with pytest.raises(Crash):
        flow.notify(place())
    flow.publisher.sent.clear()
    flow.clock.skip(CLAIMED_FOR)
    flow.notify(place())
    flow.run()

    assert flow.row("img_a").step is Step.COMPLETED
    assert found(flow).status == "ingested"
    assert {key for key in flow.objects() if key.startswith(("uploads/", "images/"))} == {"images/img_a.jpg"}
    assert flow.pending.overdue(START + timedelta(days=9), START, 9) == []


@pytest.mark.parametrize(
    ("body", "declared", "code"),
    [
        (b"just a text", {}, "FORMAT_UNSUPPORTED"),
        (b"%PDF-1.7", {}, "FORMAT_UNSUPPORTED"),
        (b"FLV\x01" + 60 * b"\x00", {}, "VIDEO_FORMAT_UNSUPPORTED"),
        (MP4_HEAD, {"size_bytes": 10}, "FILE_TOO_LARGE"),
        (MP4_HEAD, {"sha256": 64 * "0"}, "CHECKSUM_MISMATCH"),
        (picture(1)[:40], {}, "IMAGE_CORRUPT"),
        (b"", {"size_bytes": 10}, "FILE_EMPTY"),
        (picture(1), {"size_bytes": 10}, "FILE_TOO_LARGE"),
        (picture(1), {"sha256": 64 * "0"}, "CHECKSUM_MISMATCH"),
    ],
)
def test_a_file_that_cannot_be_taken_fails_with_its_reason(
    flow: Flow, body: bytes, declared: dict[str, Any], code: str
) -> None:
    upload(flow, body, **declared)

    assert flow.notify(place()) == {"batchItemFailures": []}

    row = found(flow)
    assert row.status == "failed"
    assert row.refusal
    assert (row.refusal.code, row.refusal.retryable) == (code, False)
    assert flow.objects() == set()
    assert flow.images.totals(flow.acme).images == 0
    assert flow.records == {}


def test_an_uploaded_video_becomes_searchable_by_its_frames(flow: Flow) -> None:
    body = film()
    upload(flow, body, sha256=hashlib.sha256(body).hexdigest())
    for _ in range(2):
        flow.notify(place())
    flow.run()
    flow.notify(place())

    video = flow.video("vid_a")
    assert (video.status, video.size_bytes) == ("completed", len(body))
    assert (video.tags, video.metadata) == (("sea",), {"iso": 200})
    assert flow.index.count(flow.acme) == video.frames > 0
    assert found(flow).status == "ingested"
    assert {key for key in flow.objects() if key.startswith(("uploads/", "videos/"))} == {"videos/vid_a.mp4"}
    assert flow.usage.totals["tenant_acme", "2026-11-20", "videos.uploaded"] == 1
    assert flow.usage.totals["tenant_acme", "2026-11-20", "bytes.uploaded"] == len(body)
    assert ("tenant_acme", "2026-11-20", "images.uploaded") not in flow.usage.totals
    assert flow.pending_videos.rows == {}


VIDEO_STEPS: list[tuple[str, Callable[[Flow], Any], str]] = [
    ("copy", lambda flow: flow.stores.for_tenant(flow.acme), "copy"),
    ("pending", lambda flow: flow.pending_videos, "admit"),
    ("row", lambda flow: flow.videos, "insert"),
    ("end", lambda flow: flow.uploads, "end"),
    ("delete", lambda flow: flow.stores.for_tenant(flow.acme), "delete"),
    ("publish", lambda flow: flow.publisher, "publish"),
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("part", "method"), [pytest.param(p, m, id=name) for name, p, m in VIDEO_STEPS])
def test_a_crash_anywhere_is_harmless_to_a_video(
    flow: Flow, part: Callable[[Flow], Any], method: str, when: str
) -> None:
    upload(flow, film())
    crash_once(part(flow), method, when)
    with pytest.raises(Crash):
        flow.notify(place())
    flow.publisher.sent.clear()
    flow.clock.skip(CLAIMED_FOR)
    flow.notify(place())
    flow.run()

    assert flow.video("vid_a").status == "completed"
    assert found(flow).status == "ingested"
    assert {key for key in flow.objects() if key.startswith(("uploads/", "videos/"))} == {"videos/vid_a.mp4"}


def test_a_video_beyond_the_quota_leaves_nothing(flow: Flow) -> None:
    flow.tenants.add(replace(flow.acme, limits=ResourceLimits(max_bytes=100)))
    upload(flow, film())
    flow.notify(place())

    row = found(flow)
    assert row.refusal
    assert (row.status, row.refusal.code) == ("failed", "QUOTA_EXCEEDED")
    assert flow.objects() == set()
    assert flow.pending_videos.rows == {}


def test_beyond_the_quota_nothing_stays(flow: Flow) -> None:
    flow.tenants.add(replace(flow.acme, limits=ResourceLimits(max_images=1)))
    flow.accept("img_first")
    upload(flow)

    flow.notify(place())

    row = found(flow)
    assert row.refusal
    assert (row.status, row.refusal.code) == ("failed", "QUOTA_EXCEEDED")
    assert flow.objects() == {"images/img_first.jpg"}
    assert [event.image_id for event in flow.pending.overdue(START + timedelta(days=9), START, 9)] == ["img_first"]


def test_a_tenant_that_takes_no_file_twice_gives_up_the_second(flow: Flow) -> None:
    flow.acme = replace(flow.acme, duplicates=DuplicatePolicy("reject"))
    flow.tenants.add(flow.acme)
    flow.accept("img_first", picture(1))
    upload(flow, picture(1))

    flow.notify(place())
    flow.run()

    row = found(flow)
    assert row.refusal
    assert (row.status, row.refusal.code) == ("failed", "DUPLICATE_IMAGE")
    assert "img_first" in row.refusal.message
    assert flow.images.find(flow.acme, ["img_a"]) == {}
    assert not {key for key in flow.objects() if "img_a" in key or key.startswith("uploads/")}
    assert flow.row("img_first").step is Step.COMPLETED
    assert not flow.pending._rows


def test_a_file_swapped_after_the_copy_changes_nothing(flow: Flow) -> None:
    body, other = picture(1), picture(2)
    upload(flow, body, size_bytes=10_000)
    store = flow.stores.for_tenant(flow.acme)
    copy = store.copy

    def swapped(source: str, target: str, content_type: str = "") -> None:
        copy(source, target, content_type)
        store.put(KEY, other, "image/jpeg")
        flow.notify(place())

    store.copy = swapped
    flow.notify(place())
    flow.notify(place())

    assert store.get("images/img_a.jpg") == body
    assert flow.row("img_a").sha256 == hashlib.sha256(body).hexdigest()
    assert KEY not in flow.objects()


def test_a_file_swapped_before_the_copy_is_looked_at_again(flow: Flow) -> None:
    upload(flow, picture(1), size_bytes=10_000)
    store = flow.stores.for_tenant(flow.acme)
    copy = store.copy

    def swapped(source: str, target: str, content_type: str = "") -> None:
        store.copy = copy
        store.put(KEY, picture(2, format="PNG"), "image/jpeg")
        copy(source, target, content_type)

    store.copy = swapped
    flow.notify(place())
    assert found(flow).status == "open"
    flow.clock.skip(timedelta(minutes=5))
    tick(flow)
    flow.notify()

    assert found(flow).status == "ingested"
    assert flow.row("img_a").mime_type == "image/png"


def test_a_store_that_is_away_leaves_the_message_where_it_is(flow: Flow) -> None:
    upload(flow)
    store = flow.stores.for_tenant(flow.acme)
    store.failure = StoreUnavailable("away")
    assert flow.notify(place()) == {"batchItemFailures": [{"itemIdentifier": "0"}]}

    store.failure = None
    flow.notify(place())

    assert found(flow).status == "ingested"


def test_a_store_that_refuses_is_tried_again_until_it_has_failed(flow: Flow) -> None:
    upload(flow)
    store = flow.stores.for_tenant(flow.acme)
    copies = 0

    def refuse(*_: Any) -> None:
        nonlocal copies
        copies += 1
        raise TenantStoreDenied("no")

    store.copy = refuse
    for _ in range(12):
        flow.notify(place())
        flow.clock.skip(timedelta(hours=2))

    row = found(flow)
    assert copies == 8
    assert row.refusal
    assert (row.status, row.refusal.code) == ("failed", "TENANT_STORE_DENIED")


def test_a_lost_notification_is_made_good_by_the_schedule(flow: Flow) -> None:
    upload(flow)
    tick(flow)
    assert flow.object_queue.places == []
    flow.clock.skip(timedelta(hours=2))
    tick(flow)

    flow.notify()

    assert found(flow).status == "ingested"


def test_what_never_came_expires_with_the_parts_that_did(flow: Flow) -> None:
    store = flow.stores.for_tenant(flow.acme)
    multipart = store.uploads().begin(KEY)
    store.uploads().send_part(multipart, 1, b"1")
    upload(flow, part_bytes=8, multipart_id=multipart)
    store.delete([KEY])
    flow.clock.skip(timedelta(hours=23))
    tick(flow)
    assert found(flow).status == "open"
    flow.clock.skip(timedelta(hours=2))
    tick(flow)

    assert found(flow).status == "expired"
    assert store.uploads().parts(KEY, multipart) == []
    flow.clock.skip(timedelta(days=31))
    tick(flow)
    assert flow.uploads.find("tenant_acme", "upl_a") is None


def test_a_file_that_comes_after_the_end_is_removed_unseen(flow: Flow) -> None:
    upload(flow)
    flow.uploads.end("tenant_acme", "upl_a", "aborted", START)
    flow.notify(place())
    assert flow.objects() == set()
    assert flow.images.totals(flow.acme).images == 0


@pytest.mark.parametrize(
    "where",
    [
        place("images/img_a.jpg"),
        place("uploads/upl_a/more"),
        place("uploads/upl_b"),
        place("uploads/../images/img_a"),
        place(bucket="tenant-other"),
        place(bucket="somebody-else"),
        place(source="deeplens:nfs"),
        place(source="aws:sns"),
    ],
    ids=str,
)
def test_what_is_no_upload_of_this_tenant_is_ignored(flow: Flow, where: ObjectLocation) -> None:
    upload(flow)
    flow.accept("img_b")
    before = flow.objects()

    assert flow.notify(where) == {"batchItemFailures": []}

    assert flow.objects() == before
    assert found(flow).status == "open"
    assert flow.images.totals(flow.other).images == 0


def test_a_deleted_image_stays_deleted(flow: Flow) -> None:
    upload(flow)
    flow.notify(place())
    flow.images.mark_deleted(flow.acme, "img_a", START)
    flow.stores.for_tenant(flow.acme).put(KEY, picture(1), "image/jpeg")

    flow.notify(place())

    assert KEY not in flow.objects()
    assert flow.images.page(flow.acme, MediaQuery()) == []


def raw(flow: Flow, *bodies: str) -> dict[str, Any]:
    event = {"Records": [message(body, str(n), OBJECTS) for n, body in enumerate(bodies)]}
    return flow.on_object_created(event, no_report)


def test_poison_becomes_failures_and_holds_up_nothing(flow: Flow) -> None:
    upload(flow)
    poison = ["", "null", "{}", '{"Records": []}', '{"Records": [{"s3": 1}]}', '{"Event": "s3:Other"}']
    assert raw(flow, *poison) == {"batchItemFailures": []}
    failed = [message.event for message in flow.publisher.sent]
    assert [type(event) for event in failed] == [ProcessingFailed] * len(poison)


def test_s3s_test_event_and_removals_are_dropped(flow: Flow) -> None:
    removed = {
        "eventSource": "aws:s3",
        "eventName": "ObjectRemoved:Delete",
        "s3": {"bucket": {"name": "tenant-acme"}, "object": {"key": KEY}},
    }
    upload(flow)
    test = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "tenant-acme"}
    assert raw(flow, json.dumps(test), json.dumps({"Records": [removed]})) == {"batchItemFailures": []}
    assert flow.publisher.sent == []
    assert found(flow).status == "open"


def test_an_image_that_takes_the_place_of_a_replaced_file_is_processed_at_once() -> None:
    flow = Flow(window=1)
    upload(flow, size_bytes=10_000)
    crash_once(flow.images, "insert", "before")
    with pytest.raises(Crash):
        flow.notify(place())
    flow.stores.for_tenant(flow.acme).put(KEY, picture(2), "image/jpeg")
    send_upload(flow, flow.acme, jpeg_upload("img_waiting", picture(3)))
    flow.clock.skip(CLAIMED_FOR)

    flow.notify(place())
    flow.run()

    assert flow.row("img_a").sha256 == hashlib.sha256(picture(2)).hexdigest()
    assert flow.row("img_waiting").step is Step.COMPLETED
