"""deeplens.videos.uploaded → segments → frames → deeplens.images.uploaded"""

from collections.abc import Sequence
from concurrent.futures import Executor
from itertools import batched
from typing import ClassVar

from deeplens.common.batch import in_parallel
from deeplens.common.event import Event
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Failed, Outcome, attempt
from deeplens.errors import ObjectChanged, VideoNotFound
from deeplens.events.images import ImageUploaded
from deeplens.events.videos import VideoUploaded
from deeplens.formats.errors import VideoTooSlow
from deeplens.images.keys import original_key
from deeplens.images.model import NewImage, Step
from deeplens.images.ports import PendingDue, PendingImages
from deeplens.storage.ports import ObjectStore, StoreResolver
from deeplens.tenants.batch import by_tenant
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory
from deeplens.videos.decoding.frames import Frame, frames_of
from deeplens.videos.decoding.limits import VideoLimits
from deeplens.videos.decoding.media import Patience
from deeplens.videos.decoding.plan import plan_segments
from deeplens.videos.decoding.probe import poster, probe
from deeplens.videos.decoding.ranged import RangedFile
from deeplens.videos.ended import ends_of
from deeplens.videos.frames import frame_event, new_frame
from deeplens.videos.keys import poster_key
from deeplens.videos.model import PendingVideos, PendingVideosDue, Segment, VideoRecord, VideoRepository, VideoTombstone
from deeplens.videos.requests import video_deletion

ABREAST = 3
"""Segments of a video that are under way at a time: a long film leaves room for others' videos."""
AT_ONCE = 8
"""Frames in memory."""
MOST_STARTS = 3
"""Of work on one segment that never came to an end: a decoder that takes the whole process with it does so again."""


class ExtractFrames:
    """Split a video into segments, and take the frames of each.

    Consumes ``VideoUploaded``: without a segment it probes the file, writes ``posters/`` and emits one event for each
    of the first segments; with one it writes ``images/`` objects and rows of the segment's frames and emits their
    ``ImageUploaded``, as far as the tenant's window for frames goes, and the next segment. Frames' ids follow from
    video and offset, so that a repeat makes the same frames; it emits what has not been begun. What a deletion
    overtook is removed again.
    """

    name: ClassVar = "extract_frames"
    consumes: ClassVar = VideoUploaded

    def __init__(
        self,
        tenants: TenantDirectory,
        stores: StoreResolver,
        videos: VideoRepository,
        pending: PendingImages,
        pending_due: PendingDue,
        pending_videos: PendingVideos,
        pending_videos_due: PendingVideosDue,
        video_limits: VideoLimits,
        workers: Executor,
        clock: Clock,
    ) -> None:
        self._tenants, self._stores, self._videos = tenants, stores, videos
        self._pending, self._pending_due, self._workers = pending, pending_due, workers
        self._pending_videos, self._pending_videos_due = pending_videos, pending_videos_due
        self._limits, self._clock = video_limits, clock

    def __call__(self, batch: Sequence[VideoUploaded]) -> list[Outcome]:
        return by_tenant(batch, self._tenants, self._extract_tenant)

    def _extract_tenant(self, tenant: Tenant, batch: Sequence[VideoUploaded]) -> list[Outcome]:
        return [attempt(lambda event=event: self._extract(tenant, event)) for event in batch]  # type: ignore[misc]

    def _extract(self, tenant: Tenant, event: VideoUploaded) -> Outcome:
        store = self._stores.for_tenant(tenant)
        self._stores.holding(tenant, event.storage_path).key_of(event.storage_path)
        video = self._videos.find(tenant, event.video_id)
        if video is None:
            return Failed(VideoNotFound(f"no video {event.video_id}"))
        if isinstance(video, VideoTombstone):
            return self._gone(tenant, store, event.video_id, [])
        if video.status in ("completed", "failed"):
            self._pending_videos.finish(tenant.id, video.id)
            return Done(ends_of(self._videos, tenant, [video.id]), dropped=video.status)
        written: list[str] = []
        if self._videos.start(tenant, video.id, event.segment) > MOST_STARTS:
            raise VideoTooSlow(f"decoding it ended the process {MOST_STARTS} times, or took longer than it may")
        try:
            follows = self._work(tenant, store, video, event, written)
        finally:
            self._videos.stop(tenant, video.id, event.segment)
        if isinstance(self._videos.find(tenant, video.id), VideoTombstone):
            return self._gone(tenant, store, video.id, written)
        return Done(follows)

    def _work(
        self, tenant: Tenant, store: ObjectStore, video: VideoRecord, event: VideoUploaded, written: list[str]
    ) -> tuple[Event, ...]:
        segments = self._videos.segments(tenant, video.id)
        if event.segment is None:
            return self._split(tenant, video, event, segments or self._planned(tenant, store, video, event))
        segment = next((one for one in segments if one.number == event.segment), None)
        if segment is None:
            # Not of this video's plan, so nobody waits for it.
            return ()
        if not segment.done:
            self._write_frames(tenant, store, video, segment, self._file(tenant, video, event), written)
        return (
            *self._released(tenant, video, segment),
            *self._next(tenant, video, event, segments),
        )

    def _planned(
        self, tenant: Tenant, store: ObjectStore, video: VideoRecord, event: VideoUploaded
    ) -> tuple[Segment, ...]:
        file = self._file(tenant, video, event)
        facts = probe(file, self._limits)
        store.put(poster_key(video.id), poster(file, facts), "image/jpeg")
        return self._videos.plan(tenant, video.id, facts, plan_segments(facts, tenant.video, self._limits))

    def _split(
        self, tenant: Tenant, video: VideoRecord, event: VideoUploaded, segments: Sequence[Segment]
    ) -> tuple[VideoUploaded, ...]:
        """The first of the segments that are not done; each of them is followed by the one after the others."""
        left = [one for one in segments if not one.done]
        self._note(tenant, video, ended=not left)
        return tuple(part_of(event, one, segments) for one in left[:ABREAST])

    def _write_frames(
        self,
        tenant: Tenant,
        store: ObjectStore,
        video: VideoRecord,
        segment: Segment,
        file: RangedFile,
        written: list[str],
    ) -> None:
        found = frames_of(file, segment, Patience())
        for group in batched(found, AT_ONCE, strict=False):
            rows = in_parallel(self._workers, lambda frame: self._put(store, video, frame), group)
            written += [row.id for row in rows]
            self._videos.add_frames(tenant, video.id, rows)

    def _file(self, tenant: Tenant, video: VideoRecord, event: VideoUploaded) -> RangedFile:
        """The file, of the tenant's own store or of one that it registered, where it may have become another one."""
        source = self._stores.holding(tenant, video.storage_path)
        key, expected = source.key_of(video.storage_path), event.metadata.get("etag")
        info = source.head(key)
        if expected is not None and info.etag != expected:
            raise ObjectChanged(f"{key} was replaced; what stands there now is another video")
        return RangedFile(source, key, info.size_bytes)

    def _put(self, store: ObjectStore, video: VideoRecord, frame: Frame) -> NewImage:
        row = new_frame(video, frame, store)
        store.put(store.key_of(row.storage_path), frame.jpeg, row.mime_type)
        return row

    def _released(self, tenant: Tenant, video: VideoRecord, segment: Segment) -> list[ImageUploaded]:
        """Events of the segment's frames that nobody has begun, within the window."""
        end = None if segment.last else segment.end_seconds
        rows = self._videos.frames(tenant, video.id, segment.begin_seconds, end)
        now = self._clock.now()
        waiting = {row.id: frame_event(tenant, row, now) for row in rows if row.step is Step.ACCEPTED}
        due = now + self._pending_due
        released = self._pending.admit_frames(tenant.id, list(waiting.values()), due)
        # What came to its end while it was admitted must not stay pending.
        rows = self._videos.frames(tenant, video.id, segment.begin_seconds, end) if waiting else []
        ended = [(tenant.id, row.id) for row in rows if row.step >= Step.FAILED and row.id in waiting]
        return [*released, *(self._pending.finish(ended, due) if ended else ())]

    def _next(
        self, tenant: Tenant, video: VideoRecord, event: VideoUploaded, segments: Sequence[Segment]
    ) -> tuple[Event, ...]:
        number = event.segment or 0
        all_done = self._videos.finish_segment(tenant, video.id, number)
        self._note(tenant, video, ended=all_done)
        following = [one for one in segments if one.number == number + ABREAST and not one.done]
        ends = ends_of(self._videos, tenant, [video.id]) if all_done else ()
        return (*(part_of(event, one, segments) for one in following), *ends)

    def _note(self, tenant: Tenant, video: VideoRecord, *, ended: bool) -> None:
        if ended:
            self._pending_videos.finish(tenant.id, video.id)
        else:
            self._pending_videos.postpone(tenant.id, video.id, self._clock.now() + self._pending_videos_due)

    def _gone(self, tenant: Tenant, store: ObjectStore, video_id: str, written: Sequence[str]) -> Outcome:
        """Remove what was written of a video that is deleted."""
        now = self._clock.now()
        store.delete(original_key(image_id, ".jpg") for image_id in written)
        self._videos.bury(tenant, video_id, now)
        self._pending_videos.finish(tenant.id, video_id)
        return Done((video_deletion(tenant.id, video_id, now),), dropped="deleted")


def part_of(event: VideoUploaded, segment: Segment, segments: Sequence[Segment]) -> VideoUploaded:
    """The event of a segment."""
    changes = {"segment": segment.number, "duration": segments[-1].end_seconds, "event_id": ""}
    return event.model_copy(update=changes)
