"""What the pipeline and the API rely on in ``VideoRepository`` and ``PendingVideos``, of the fakes as of PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from deeplens.database.connections import Connections
from deeplens.errors import QuotaExceeded
from deeplens.events.images import ImageUploaded
from deeplens.events.videos import VideoUploaded
from deeplens.images.model import ImageRecord, MediaQuery, NewImage, StageResult, Step, Tombstone
from deeplens.images.postgres import PostgresImages
from deeplens.images.postgres_pending import PostgresPending
from deeplens.tenants.limits import ResourceLimits, Storage
from deeplens.tenants.model import Tenant
from deeplens.videos.accept import video_uploaded
from deeplens.videos.model import NewVideo, Segment, VideoFacts, VideoRecord
from deeplens.videos.postgres import PostgresPendingVideos, PostgresVideos

from tests.fakes.db import FakeImages, FakePending
from tests.fakes.videos import FakePendingVideos, FakeVideos
from tests.integration.conftest import NewTenant

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
FACTS = VideoFacts(20.5, 1280, 720, 29.97, "h264", "mp4")
PARTS = (Segment(0, 0, 10, 5, 2.5), Segment(1, 10, 20.5, 5, 2.5, last=True))


class Rows:
    """Images and videos of one kind of database, and a tenant in it."""

    def __init__(self, images: Any, videos: Any, tenant: Tenant) -> None:
        self.images, self.videos, self.tenant = images, videos, tenant

    def insert(self, video_id: str = "vid_a", **changes: Any) -> VideoRecord:
        row = self.videos.insert(self.tenant, new_video(video_id, **changes))
        assert isinstance(row, VideoRecord)
        return row

    def planned(self, *offsets: float) -> list[str]:
        """A video with a plan, and frames at these offsets."""
        self.insert()
        self.videos.plan(self.tenant, "vid_a", FACTS, PARTS)
        frames = [new_frame(offset) for offset in offsets]
        self.videos.add_frames(self.tenant, "vid_a", frames)
        return [frame.id for frame in frames]

    def reach(self, step: Step, *image_ids: str, generation: int = 1) -> None:
        results = [StageResult(image_id, generation, step, step.name.lower(), NOON) for image_id in image_ids]
        self.images.advance(self.tenant, results)

    def finish(self) -> list[bool]:
        return [self.videos.finish_segment(self.tenant, "vid_a", part.number) for part in PARTS]

    @property
    def video(self) -> VideoRecord:
        found = self.videos.find(self.tenant, "vid_a")
        assert isinstance(found, VideoRecord)
        return found


@pytest.fixture(params=["fake", "postgres"])
def rows(request: pytest.FixtureRequest, tenant: Tenant) -> Rows:
    if request.param == "fake":
        images = FakeImages()
        return Rows(images, FakeVideos(images), tenant)
    connections = request.getfixturevalue("connections")
    return Rows(PostgresImages(connections), PostgresVideos(connections), tenant)


def new_video(video_id: str = "vid_a", **changes: Any) -> NewVideo:
    path = f"nfs://tenant/videos/{video_id}.mp4"
    given = NewVideo(
        video_id, "süß.mp4", path, "video/mp4", 5_000_000_000, None, NOON, ("sea", "süß"), {"album": {"page": 3}}
    )
    return replace(given, **changes)


def new_frame(offset: float) -> NewImage:
    image_id = f"img_f{round(offset * 1000)}"
    path = f"nfs://tenant/images/{image_id}.jpg"
    return NewImage(image_id, "", path, "image/jpeg", 1000, "cd" * 32, NOON, frame_offset_seconds=offset)


def test_an_accepted_video_reads_back_as_it_was_given(rows: Rows) -> None:
    given = new_video()
    row = rows.insert()
    assert (row.status, row.segments, row.segments_done, row.frames) == ("accepted", None, 0, 0)
    assert {name: getattr(row, name) for name in NewVideo.__slots__} == {
        name: getattr(given, name) for name in NewVideo.__slots__
    }
    assert rows.videos.insert(rows.tenant, new_video(file_name="other.mp4")) == row
    assert rows.videos.names(rows.tenant, ["vid_a", "vid_b"]) == {"vid_a": "süß.mp4"}
    assert rows.videos.find(rows.tenant, "vid_b") is None


def test_the_first_plan_stays(rows: Rows) -> None:
    rows.insert()
    assert rows.videos.segments(rows.tenant, "vid_a") == ()
    assert rows.videos.plan(rows.tenant, "vid_a", FACTS, PARTS) == PARTS
    other = VideoFacts(1, 1, 1, 1, "vp9", "webm")
    assert rows.videos.plan(rows.tenant, "vid_a", other, PARTS[:1]) == PARTS
    assert rows.videos.segments(rows.tenant, "vid_a") == PARTS
    video = rows.video
    assert (video.status, video.segments, video.codec, video.duration_seconds) == ("processing", 2, "h264", 20.5)


def test_frames_are_images_of_their_video_in_no_list_of_images(rows: Rows) -> None:
    ids = rows.planned(12.5, 0, 3.25)
    rows.videos.add_frames(rows.tenant, "vid_a", [new_frame(0), new_frame(4)])

    found = rows.videos.frames(rows.tenant, "vid_a")
    assert [row.frame_offset_seconds for row in found] == [0, 3.25, 4, 12.5]
    assert {(row.video_id, row.file_name, row.tags) for row in found} == {("vid_a", "süß.mp4", ("sea", "süß"))}
    assert [row.frame_offset_seconds for row in rows.videos.frames(rows.tenant, "vid_a", 3, 12.5)] == [3.25, 4]
    assert [row.frame_offset_seconds for row in rows.videos.frames(rows.tenant, "vid_a", 3, None, 2)] == [3.25, 4]
    one = rows.images.find(rows.tenant, [ids[0]])[ids[0]]
    assert isinstance(one, ImageRecord)
    assert (one.video_id, one.frame_offset_seconds) == ("vid_a", 12.5)
    assert [entry.stage for entry in rows.images.timeline(rows.tenant, ids[0])] == ["accept"]
    assert rows.images.page(rows.tenant, MediaQuery()) == []
    assert len(rows.images.after(rows.tenant, "", 10)) == 4


def test_a_video_completes_with_its_last_frame_or_its_last_segment(rows: Rows) -> None:
    ids = rows.planned(0, 5, 12)
    rows.reach(Step.COMPLETED, *ids[:2])
    assert rows.finish() == [False, True]
    assert (rows.video.status, rows.video.frames_completed) == ("processing", 2)
    rows.reach(Step.COMPLETED, ids[2])
    rows.reach(Step.COMPLETED, ids[2])
    video = rows.video
    assert (video.status, video.segments_done, video.frames, video.frames_completed) == ("completed", 2, 3, 3)
    assert video.completed_at is not None


def test_a_video_whose_frames_were_faster_completes_with_its_last_segment(rows: Rows) -> None:
    rows.reach(Step.COMPLETED, *rows.planned(0, 5))
    assert rows.video.status == "processing"
    rows.finish()
    assert rows.video.status == "completed"


@pytest.mark.parametrize(("failed", "status"), [(1, "completed"), (2, "failed")])
def test_more_than_a_fifth_of_failed_frames_is_too_much(rows: Rows, failed: int, status: str) -> None:
    ids = rows.planned(0, 1, 2, 3, 4)
    rows.finish()
    rows.reach(Step.FAILED, *ids[:failed])
    rows.reach(Step.COMPLETED, *ids[failed:])
    video = rows.video
    assert (video.status, video.frames_failed) == (status, failed)
    assert video.error_code == ("VIDEO_FRAMES_FAILED" if status == "failed" else None)


def test_those_that_have_ended_are_told_from_others(rows: Rows) -> None:
    frames = rows.planned(0)
    rows.insert("vid_b")
    rows.insert("vid_c")
    asked = ["vid_c", "vid_a", "vid_b", "vid_a", "vid_x"]
    assert rows.videos.ended(rows.tenant, asked) == []
    rows.finish()
    rows.reach(Step.COMPLETED, *frames)
    rows.videos.fail(rows.tenant, "vid_c", "VIDEO_CORRUPT", "broken", False)
    assert rows.videos.ended(rows.tenant, asked) == [rows.video, rows.videos.find(rows.tenant, "vid_c")]
    rows.videos.mark_deleted(rows.tenant, "vid_a", NOON)
    assert [video.id for video in rows.videos.ended(rows.tenant, asked)] == ["vid_c"]
    assert rows.videos.ended(rows.tenant, []) == []


def test_a_retried_frame_makes_a_failed_video_good(rows: Rows) -> None:
    (frame,) = rows.planned(0)
    rows.finish()
    rows.reach(Step.FAILED, frame)
    assert rows.video.status == "failed"
    rows.reach(Step.ACCEPTED, frame, generation=2)
    rows.reach(Step.COMPLETED, frame, generation=2)
    assert (rows.video.status, rows.video.error_code) == ("completed", None)


def test_a_deleted_frame_holds_up_nothing(rows: Rows) -> None:
    ids = rows.planned(0, 5)
    rows.finish()
    rows.reach(Step.COMPLETED, ids[0])
    assert rows.images.mark_deleted(rows.tenant, ids[1], NOON)
    assert (rows.video.status, rows.video.frames) == ("completed", 1)


def test_what_failed_for_a_reason_of_its_own_stays_failed(rows: Rows) -> None:
    ids = rows.planned(0)
    rows.videos.fail(rows.tenant, "vid_a", "VIDEO_TRUNCATED", "cut\x00", False)
    rows.videos.fail(rows.tenant, "vid_a", "OTHER", "later", True)
    rows.reach(Step.COMPLETED, *ids)
    rows.finish()
    video = rows.video
    assert (video.status, video.error_code, video.error_retryable) == ("failed", "VIDEO_TRUNCATED", False)


def test_frames_that_end_at_once_in_many_connections_end_the_video_once(
    connections: Connections, new_tenant: NewTenant
) -> None:
    tenant = new_tenant()
    rows = Rows(PostgresImages(connections), PostgresVideos(connections), tenant)
    ids = rows.planned(*range(40))
    rows.finish()
    several = [Connections(connections.platform_url, tenant_key=connections.tenant_key) for _ in range(4)]
    done = [PostgresImages(opened) for opened in several]

    def end(number: int) -> None:
        result = StageResult(ids[number], 1, Step.COMPLETED, "complete", NOON)
        done[number % 4].advance(tenant, [result])

    with ThreadPoolExecutor(4) as workers:
        list(workers.map(end, range(40)))
    for opened in several:
        opened.close()
    assert (rows.video.status, rows.video.frames_completed) == ("completed", 40)


def test_a_buried_video_is_gone_with_its_frames_and_leaves_a_receipt(rows: Rows) -> None:
    ids = rows.planned(0, 5)
    assert not rows.videos.mark_deleted(rows.tenant, "vid_unknown", NOON)
    assert rows.videos.mark_deleted(rows.tenant, "vid_a", NOON)
    assert rows.videos.mark_deleted(rows.tenant, "vid_a", NOON + timedelta(hours=1))
    assert rows.videos.find(rows.tenant, "vid_a") == Tombstone("vid_a", NOON)
    assert rows.videos.insert(rows.tenant, new_video()) == Tombstone("vid_a", NOON)
    assert all(isinstance(image, Tombstone) for image in rows.images.find(rows.tenant, ids).values())
    assert rows.videos.frames(rows.tenant, "vid_a") == []
    assert rows.videos.page(rows.tenant, MediaQuery()) == []
    rows.videos.add_frames(rows.tenant, "vid_a", [new_frame(9)])
    assert sorted(rows.videos.frame_ids(rows.tenant, "vid_a")) == sorted(ids)

    rows.videos.delete_rows(rows.tenant, "vid_a", {"frames": 2})
    rows.videos.delete_rows(rows.tenant, "vid_a", {"frames": 2})
    assert rows.videos.find(rows.tenant, "vid_a") == Tombstone("vid_a", NOON, {"frames": 2})
    # Frames that were written late find their video's tombstone.
    assert rows.videos.mark_deleted(rows.tenant, "vid_a", NOON)


def test_starts_are_counted_until_one_comes_to_its_end(rows: Rows) -> None:
    rows.planned(0)
    for segment in (None, 0):
        assert [rows.videos.start(rows.tenant, "vid_a", segment) for _ in range(3)] == [1, 2, 3]
        rows.videos.stop(rows.tenant, "vid_a", segment)
        assert rows.videos.start(rows.tenant, "vid_a", segment) == 1


def test_a_video_counts_with_its_bytes_until_it_is_erased(connections: Connections, tenant: Tenant) -> None:
    rows = Rows(PostgresImages(connections), PostgresVideos(connections), tenant)
    rows.planned(0, 1)
    assert rows.images.totals(tenant) == Storage(2, 5_000_000_000 + 2000)
    with pytest.raises(QuotaExceeded):
        rows.videos.insert(tenant, new_video("vid_b"), ResourceLimits(max_bytes=9_000_000_000))
    assert rows.videos.find(tenant, "vid_b") is None
    rows.videos.mark_deleted(tenant, "vid_a", NOON)
    rows.videos.delete_rows(tenant, "vid_a", {})
    assert rows.images.totals(tenant) == Storage(2, 2000)


def test_videos_are_listed_newest_first_and_narrowed(rows: Rows) -> None:
    for number in range(4):
        rows.insert(f"vid_{number}", uploaded_at=NOON + timedelta(hours=number), tags=("sea",) if number else ())
    page = rows.videos.page(rows.tenant, MediaQuery(limit=2))
    assert [row.id for row in page] == ["vid_3", "vid_2"]
    rest = rows.videos.page(rows.tenant, MediaQuery(after=(page[-1].uploaded_at, page[-1].id)))
    assert [row.id for row in rest] == ["vid_1", "vid_0"]
    assert [row.id for row in rows.videos.page(rows.tenant, MediaQuery(tags=("sea",)))] == ["vid_3", "vid_2", "vid_1"]
    assert rows.videos.page(rows.tenant, MediaQuery(statuses=("completed",))) == []


def test_tenants_videos_are_their_own(connections: Connections, new_tenant: NewTenant) -> None:
    videos, one, other = PostgresVideos(connections), new_tenant(), new_tenant()
    videos.insert(one, new_video())
    assert videos.find(other, "vid_a") is None
    assert not videos.mark_deleted(other, "vid_a", NOON)
    videos.fail(other, "vid_a", "X", "x", False)
    assert isinstance(found := videos.find(one, "vid_a"), VideoRecord)
    assert found.status == "accepted"


@pytest.fixture(params=["fake", "postgres"])
def waiting(request: pytest.FixtureRequest) -> Any:
    if request.param == "fake":
        return FakePendingVideos()
    connections: Connections = request.getfixturevalue("connections")
    with connections.platform() as connection:
        connection.execute("TRUNCATE pending_videos")
    return PostgresPendingVideos(connections)


def test_videos_are_due_once_their_time_is_up_the_oldest_first(waiting: Any, tenant: Tenant) -> None:
    events = [video_uploaded(tenant, new_video(f"vid_{number}")) for number in range(3)]
    for number, event in enumerate(events):
        assert waiting.admit(event, NOON + timedelta(minutes=number)) == event
    later = events[0].model_copy(update={"file_name": "other"})
    assert waiting.admit(later, NOON) == events[0]
    waiting.postpone(tenant.id, "vid_1", NOON + timedelta(hours=2))

    soon, due = NOON + timedelta(minutes=30), NOON + timedelta(hours=1)
    found: list[VideoUploaded] = waiting.overdue(soon, due, 10)
    assert [event.video_id for event in found] == ["vid_0", "vid_2"]
    assert waiting.overdue(soon, due, 10) == []
    waiting.finish(tenant.id, "vid_0")
    assert [event.video_id for event in waiting.overdue(NOON + timedelta(hours=3), due, 10)] == ["vid_2", "vid_1"]


@pytest.fixture(params=["fake", "postgres"])
def pending(request: pytest.FixtureRequest) -> Any:
    if request.param == "fake":
        return FakePending(4, frames=2)
    connections: Connections = request.getfixturevalue("connections")
    with connections.platform() as connection:
        connection.execute("TRUNCATE pending_images")
    return PostgresPending(connections, 4, frames=2)


def event(image_id: str, video_id: str | None = None) -> ImageUploaded:
    path = f"nfs://tenant_a/images/{image_id}.jpg"
    return ImageUploaded(
        image_id=image_id,
        tenant_id="tenant_a",
        file_name="a",
        storage_path=path,
        mime_type="image/jpeg",
        size_bytes=1,
        uploaded_at=NOON,
        video_id=video_id,
    )


def test_frames_have_a_smaller_window_and_wait_behind_photos(pending: Any) -> None:
    frames = [event(f"img_f{number}", "vid_a") for number in range(5)]
    assert ids(pending.admit_frames("tenant_a", frames, NOON)) == ["img_f0", "img_f1"]
    assert ids(pending.admit_frames("tenant_a", frames, NOON)) == ["img_f0", "img_f1"]
    assert [pending.admit(event(f"img_{number}"), NOON).released for number in range(3)] == [True, True, False]
    assert ids(pending.finish([("tenant_a", "img_f0")], NOON)) == ["img_2"]
    assert ids(pending.finish([("tenant_a", "img_0")], NOON)) == ["img_f2"]
    assert ids(pending.finish([("tenant_a", "img_1")], NOON)) == []
    assert ids(pending.finish([("tenant_a", "img_f1"), ("tenant_a", "img_f2")], NOON)) == ["img_f3", "img_f4"]
    assert pending.admit_frames("tenant_a", [], NOON) == []


def ids(events: list[ImageUploaded]) -> list[str]:
    return [event.image_id for event in events]
