"""Videos through the whole flow: what happens twice, too late, out of order, or not to the end."""

import json
from base64 import b64decode
from datetime import timedelta
from typing import Any

import pytest
from deeplens.errors import StoreUnavailable
from deeplens.events.videos import VideoUploaded
from deeplens.images.model import StageResult, Step, Tombstone
from deeplens.images.requests import deletion_request
from deeplens.videos import extract as extract_frames
from deeplens.videos.resume import ResumeVideos
from deeplens.webhooks.model import Webhook

from tests.harness.api import MP4_HEAD, START
from tests.harness.films import BLUE, GREEN, RED, WHITE, encrypted, film, sound
from tests.harness.flow import Flow

VIDEOS, IMAGES = "deeplens.videos.uploaded", "deeplens.images.uploaded"
FILM = film((RED, GREEN, BLUE, WHITE), 3)
"""Twelve seconds; the flow's limits split it into three segments."""
CUTS = [0, 3, 4, 6, 8, 9]
"""Offsets of its frames: each segment has its first, and the cuts."""


def offsets(flow: Flow, video_id: str = "vid_1") -> list[float]:
    return [row.frame_offset_seconds for row in flow.videos.frames(flow.acme, video_id)]


def test_a_video_becomes_frames_and_completes_with_the_last_of_them() -> None:
    flow = Flow()
    flow.accept_video(FILM)
    flow.run()

    video = flow.video()
    assert (video.status, video.segments, video.segments_done) == ("completed", 3, 3)
    assert (video.codec, video.container, video.width, video.height) == ("h264", "mp4", 160, 120)
    assert offsets(flow) == pytest.approx(CUTS, abs=0.11)
    assert video.frames == video.frames_completed == len(CUTS)
    assert flow.pending_videos.rows == {}
    assert "posters/vid_1.jpg" in flow.objects()
    frames = flow.videos.frames(flow.acme, "vid_1")
    assert {row.tags for row in frames} == {("film",)}
    assert flow.index.existing(flow.acme, [row.id for row in frames]) == {row.id for row in frames}


def counted(flow: Flow) -> dict[tuple[str, str, str], float]:
    """What was metered, but for the time that embedding took."""
    return {key: quantity for key, quantity in flow.usage.totals.items() if key[2] != "inference.ms"}


def test_every_record_twice_changes_nothing() -> None:
    once, twice = Flow(), Flow()
    for flow in (once, twice):
        flow.accept_video(FILM)

    once.run()
    handed: set[tuple[str, int]] = set()

    def again(topic: str) -> None:
        for record in list(twice.records[topic]):
            if (topic, record["offset"]) not in handed and topic == VIDEOS:
                handed.add((topic, record["offset"]))
                twice.records[topic].append(record)

    twice.run(before=again)
    assert {row.id for row in once.videos.frames(once.acme, "vid_1")} == {
        row.id for row in twice.videos.frames(twice.acme, "vid_1")
    }
    assert once.objects() == twice.objects()
    assert twice.video().status == "completed"
    assert counted(twice) == counted(once)
    assert twice.dead_letters.letters == {}


def test_segments_before_the_plan_or_beyond_it_are_dropped() -> None:
    flow = Flow()
    event = flow.accept_video(FILM)
    assert event
    for segment in (2, 99):
        flow.send(event.model_copy(update={"segment": segment}))
    flow.records[VIDEOS].rotate(2)
    flow.run()
    assert flow.video().status == "completed"
    assert flow.dead_letters.letters == {}


def test_segments_in_any_order_give_the_same_video() -> None:
    flow = Flow()
    flow.accept_video(FILM)
    flow.deliver(VIDEOS)
    flow.records[VIDEOS].reverse()
    flow.run()
    assert flow.video().status == "completed"
    assert offsets(flow) == pytest.approx(CUTS, abs=0.11)


@pytest.mark.parametrize("after", range(1, 14))
def test_a_crash_anywhere_is_made_good_by_the_next_delivery(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """The store goes away, for a while, after so many writes; rows and pending entries are half there."""
    flow = Flow()
    flow.accept_video(FILM)
    store, writes = flow.stores.for_tenant(flow.acme), 0
    put = store.put

    def failing(key: str, body: Any, content_type: str) -> None:
        nonlocal writes
        writes += 1
        if after <= writes < after + 3:
            raise StoreUnavailable("away")
        put(key, body, content_type)

    monkeypatch.setattr(store, "put", failing)
    flow.run()
    assert flow.video().status == "completed"
    assert offsets(flow) == pytest.approx(CUTS, abs=0.11)
    assert flow.dead_letters.letters == {}
    assert flow.pending_videos.rows == {}


def test_what_was_not_published_is_published_by_the_next_delivery() -> None:
    flow = Flow()
    flow.accept_video(FILM)
    flow.deliver(VIDEOS)
    flow.publisher.away = 2
    flow.run()
    assert flow.video().status == "completed"


def test_a_video_whose_events_were_lost_is_sent_again_by_the_schedule() -> None:
    flow = Flow()
    flow.accept_video(FILM)
    flow.deliver(VIDEOS)
    flow.records[VIDEOS].popleft()
    flow.records[VIDEOS].pop()
    flow.run()
    assert flow.video().status == "processing"
    flow.clock.skip(timedelta(hours=1))
    for event in ResumeVideos(flow.pending_videos, flow.pending_videos_due, flow.clock)():
        flow.send(event)
    flow.run()
    assert flow.video().status == "completed"
    assert offsets(flow) == pytest.approx(CUTS, abs=0.11)


def test_frames_wait_in_a_window_of_their_own_and_behind_photos() -> None:
    flow = Flow(window=4, frames_window=2)
    flow.accept_video(FILM)
    seen: list[int] = []

    def in_flight(topic: str) -> None:
        seen.append(flow.pending._in_flight(flow.acme.id, frames=True))

    flow.deliver(VIDEOS)
    flow.deliver(VIDEOS)
    flow.accept("img_photo")
    assert [row for row in flow.records[IMAGES] if b"img_photo" in _value(row)]
    flow.run(before=in_flight)
    assert max(seen) == 2
    assert flow.video().status == "completed"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (FILM[:3000], "VIDEO_TRUNCATED"),
        (encrypted(), "VIDEO_ENCRYPTED"),
        (sound(), "VIDEO_WITHOUT_PICTURES"),
        (b"", "FILE_EMPTY"),
        (b"#EXTM3U\nhttp://169.254.169.254/", "VIDEO_FORMAT_UNSUPPORTED"),
    ],
)
def test_a_file_that_cannot_be_worked_fails_with_its_reason(body: bytes, code: str) -> None:
    flow = Flow()
    flow.accept_video(body)
    flow.run()

    video = flow.video()
    assert (video.status, video.error_code, video.error_retryable) == ("failed", code, False)
    assert flow.pending_videos.rows == {}
    (letter,) = flow.dead_letters.letters.values()
    assert letter.error_code == code


@pytest.mark.parametrize(("broken", "status"), [(1, "completed"), (2, "failed")])
def test_more_than_a_fifth_of_failed_frames_fails_the_video(broken: int, status: str) -> None:
    flow = Flow()
    flow.accept_video(FILM)
    store, spoilt = flow.stores.for_tenant(flow.acme), set[str]()

    def spoil(topic: str) -> None:
        for row in flow.videos.frames(flow.acme, "vid_1")[:broken] if topic == IMAGES else ():
            if row.id not in spoilt:
                spoilt.add(row.id)
                store.put(f"images/{row.id}.jpg", b"spoilt", "image/jpeg")

    flow.run(before=spoil)
    video = flow.video()
    assert (video.status, video.frames_failed, video.frames) == (status, broken, len(CUTS))
    assert (video.error_code == "VIDEO_FRAMES_FAILED") == (status == "failed")


def test_a_failed_frame_that_is_retried_completes_its_video_after_all() -> None:
    flow = Flow()
    flow.accept_video(film((RED,), 1))
    flow.run(before=lambda topic: _spoil_all(flow) if topic == IMAGES else None)
    assert flow.video().status == "failed"
    (frame,) = flow.videos.frames(flow.acme, "vid_1")
    done = [StageResult(frame.id, 2, step, "retry", flow.clock.now()) for step in (Step.ACCEPTED, Step.COMPLETED)]
    flow.images.advance(flow.acme, done)
    assert flow.video().status == "completed"


def test_a_decoder_that_takes_its_process_along_is_not_started_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = Flow()
    flow.accept_video(FILM)
    # What a killed process leaves behind.
    for _ in range(extract_frames.MAX_ATTEMPTS):
        flow.videos.start(flow.acme, "vid_1", None)
    flow.run()
    assert (flow.video().status, flow.video().error_code) == ("failed", "VIDEO_TOO_SLOW")


def delete(flow: Flow) -> None:
    assert flow.videos.mark_deleted(flow.acme, "vid_1", flow.clock.now())
    flow.send(deletion_request(flow.acme.id, "vid_1", flow.clock.now()))


def assert_gone(flow: Flow) -> None:
    video = flow.video()
    assert isinstance(video, Tombstone)
    assert video.receipt is not None
    assert flow.objects() == set()
    assert flow.index.count(flow.acme) == 0
    assert flow.videos.frame_ids(flow.acme, "vid_1") == []
    assert flow.pending_videos.rows == {}
    assert flow.pending.overdue(flow.clock.now() + timedelta(days=9), flow.clock.now(), 99) == []


def test_a_deleted_video_takes_frames_vectors_and_objects_with_it() -> None:
    flow = Flow()
    flow.accept_video(FILM)
    flow.run()
    frames = [row.id for row in flow.videos.frames(flow.acme, "vid_1")]
    delete(flow)
    assert all(isinstance(flow.row(image_id), Tombstone) for image_id in frames)
    assert flow.videos.frames(flow.acme, "vid_1") == []
    flow.run()
    assert_gone(flow)
    assert flow.video().receipt["frames"] == len(frames)


@pytest.mark.parametrize("rounds", range(1, 8))
def test_a_video_deleted_in_mid_work_stays_deleted(rounds: int) -> None:
    flow = Flow()
    flow.accept_video(FILM)
    left = rounds

    def at(topic: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            delete(flow)

    flow.run(before=at)
    assert_gone(flow)


def test_a_video_deleted_while_its_frames_are_written_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = Flow()
    flow.accept_video(FILM)
    flow.deliver(VIDEOS)
    add, first = flow.videos.add_frames, True

    def overtaken(*arguments: Any) -> None:
        nonlocal first
        add(*arguments)
        if first:
            first = False
            delete(flow)

    monkeypatch.setattr(flow.videos, "add_frames", overtaken)
    flow.run()
    assert_gone(flow)


def test_an_event_of_a_path_outside_the_tenants_store_is_refused() -> None:
    flow = Flow()
    event = flow.accept_video(FILM)
    assert event
    flow.records[VIDEOS].clear()
    flow.send(event.model_copy(update={"storage_path": "s3://tenant-other/videos/vid_1.mp4"}))
    flow.run()
    assert flow.video().error_code == "INVALID_EVENT"
    assert offsets(flow) == []


def test_another_tenants_event_about_this_video_finds_none() -> None:
    flow = Flow()
    event = flow.accept_video(FILM)
    assert event
    flow.records[VIDEOS].clear()
    foreign = flow.stores.for_tenant(flow.other).uri("videos/vid_1.mp4")
    flow.send(event.model_copy(update={"tenant_id": flow.other.id, "storage_path": foreign}))
    flow.run()
    assert flow.video().status == "accepted"
    assert [letter.error_code for letter in flow.dead_letters.letters.values()] == ["VIDEO_NOT_FOUND"]


def test_a_failed_video_is_told_with_its_own_id() -> None:
    flow = Flow()
    flow.accept_video(b"")
    flow.deliver(VIDEOS)
    flow.run()
    (letter,) = flow.dead_letters.letters.values()
    assert letter.source is not None
    assert letter.source.topic == VIDEOS
    assert VideoUploaded.model_validate_json(_decoded(letter.source.value)).video_id == "vid_1"


def _spoil_all(flow: Flow) -> None:
    for row in flow.videos.frames(flow.acme, "vid_1"):
        flow.stores.for_tenant(flow.acme).put(f"images/{row.id}.jpg", b"spoilt", "image/jpeg")


def _value(record: dict[str, Any]) -> bytes:
    return _decoded(record["value"])


def _decoded(value: Any) -> bytes:
    return b64decode(value)


@pytest.mark.parametrize(("body", "kind"), [(FILM, "video.completed"), (MP4_HEAD, "video.failed")])
def test_webhooks_and_the_meter_hear_of_a_video_once(body: bytes, kind: str) -> None:
    flow = Flow()
    notification_types = ("image.completed", "video.completed", "video.failed")
    flow.webhooks.save(Webhook("whk_1", "tenant_acme", "https://acme.example/h", notification_types, START))
    for _ in range(2):
        event = flow.accept_video(body)
        flow.run_with_retries()
    assert event is None  # it had ended
    (sent,) = [json.loads(body) for _, _, body in flow.webhook_sender.sent]
    assert (sent["type"], sent["data"]["videoId"]) == (kind, "vid_1")
    totals = {metric: quantity for (_, _, metric), quantity in flow.usage.totals.items()}
    assert (totals["videos.uploaded"], totals["bytes.uploaded"]) == (1, len(body))
    assert "images.uploaded" not in totals
