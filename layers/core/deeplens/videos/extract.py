"""deeplens.videos.uploaded → segments → frames → deeplens.images.uploaded"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import batched
from typing import ClassVar
from uuid import UUID, uuid5

from deeplens.common.event import Event
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Failed, Outcome, attempt_each, in_parallel
from deeplens.errors import ObjectChanged, VideoNotFound
from deeplens.events.images import ImageUploaded
from deeplens.events.videos import VideoUploaded
from deeplens.formats.errors import VideoTooSlow
from deeplens.images.keys import original_key, poster_key
from deeplens.images.model import NewImage, Step, Tombstone
from deeplens.images.ports import PendingDue, PendingImages
from deeplens.images.requests import deletion_request, image_uploaded
from deeplens.storage.ports import ObjectStore, StoreResolver
from deeplens.telemetry import tracing
from deeplens.tenants.batch import by_tenant
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory
from deeplens.videos.decoding.decoder import VideoDecoder
from deeplens.videos.decoding.limits import VideoLimits
from deeplens.videos.decoding.plan import Frame, plan_segments
from deeplens.videos.decoding.ranged import RangedFile
from deeplens.videos.ended import events_of_ended_videos
from deeplens.videos.model import PendingVideos, PendingVideosDue, Segment, VideoRecord, VideoRepository

NAMESPACE = UUID("c2f0a4d1-5d0b-5a2e-8f59-0d6f4bb0a7e3")
PARALLEL_SEGMENTS = 3
"""Segments of one video in flight: a long film leaves room for other videos."""
FRAMES_IN_MEMORY = 8
MAX_ATTEMPTS = 3
"""Starts of one segment that ended the process, as a decoder may: the next start would end it again."""


@dataclass(frozen=True, slots=True)
class _Work:
    """One event of a video that is in work; ``written`` are the ids of frames whose objects were written."""

    tenant: Tenant
    store: ObjectStore
    video: VideoRecord
    event: VideoUploaded
    written: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ExtractFrames:
    """Split a video into segments, and extract the frames of each.

    Consumes ``VideoUploaded``. An event without a segment: probes the file, writes ``posters/`` and emits one event for
    each of the first segments. With a segment: writes ``images/`` objects and rows of its frames, and emits their
    ``ImageUploaded``, within the tenant's window for frames, and the event of the next segment. A frame's id follows
    from video and offset, so a repeat makes the same frames, and emits those that no stage has processed. Frames of a
    video that was deleted meanwhile are removed.
    """

    name: ClassVar = "extract_frames"
    consumes: ClassVar = VideoUploaded

    # The first, so that its child starts before anything reads a secret.
    decoder: VideoDecoder
    tenants: TenantDirectory
    stores: StoreResolver
    videos: VideoRepository
    pending: PendingImages
    pending_due: PendingDue
    pending_videos: PendingVideos
    pending_videos_due: PendingVideosDue
    video_limits: VideoLimits
    workers: Executor
    clock: Clock

    def __call__(self, batch: Sequence[VideoUploaded]) -> list[Outcome]:
        return by_tenant(batch, self.tenants, self._extract_tenant)

    def _extract_tenant(self, tenant: Tenant, batch: Sequence[VideoUploaded]) -> list[Outcome]:
        return attempt_each(partial(self._extract, tenant), batch)

    def _extract(self, tenant: Tenant, event: VideoUploaded) -> Outcome:
        store = self.stores.for_tenant(tenant)
        self.stores.holding(tenant, event.storage_path).key_of(event.storage_path)
        video = self.videos.find(tenant, event.video_id)
        if video is None:
            return Failed(VideoNotFound(f"no video {event.video_id}"))
        if isinstance(video, Tombstone):
            return self._remove(tenant, store, event.video_id, [])
        if video.status in ("completed", "failed"):
            self.pending_videos.finish(tenant.id, video.id)
            return Done(events_of_ended_videos(self.videos, tenant, [video.id]), dropped=video.status)
        if self.videos.start(tenant, video.id, event.segment) > MAX_ATTEMPTS:
            raise VideoTooSlow(f"decoding it ended the process {MAX_ATTEMPTS} times, or took too long")
        work = _Work(tenant, store, video, event)
        try:
            events = self._probe(work) if event.segment is None else self._extract_segment(work, event.segment)
        finally:
            self.videos.stop(tenant, video.id, event.segment)
        if isinstance(self.videos.find(tenant, video.id), Tombstone):
            return self._remove(tenant, store, video.id, work.written)
        return Done(events)

    def _probe(self, work: _Work) -> tuple[Event, ...]:
        """Plan the segments, and return the events of the first that are not done."""
        segments = self.videos.segments(work.tenant, work.video.id) or self._plan(work)
        left = [segment for segment in segments if not segment.done]
        self._settle_pending(work, ended=not left)
        return tuple(part_of(work.event, segment, segments) for segment in left[:PARALLEL_SEGMENTS])

    def _plan(self, work: _Work) -> tuple[Segment, ...]:
        file = self._file(work)
        facts = self.decoder.probe(file)
        work.store.put(poster_key(work.video.id), self.decoder.poster(file, facts), "image/jpeg")
        planned = plan_segments(facts, work.tenant.video, self.video_limits)
        return self.videos.plan(work.tenant, work.video.id, facts, planned)

    def _extract_segment(self, work: _Work, number: int) -> tuple[Event, ...]:
        segments = self.videos.segments(work.tenant, work.video.id)
        segment = next((segment for segment in segments if segment.number == number), None)
        if segment is None:
            # The kept plan has no such segment, so the video does not wait for it.
            return ()
        if not segment.done:
            self._write_frames(work, segment)
        return (*self._release(work, segment), *self._continue(work, segment, segments))

    def _write_frames(self, work: _Work, segment: Segment) -> None:
        # Closed at once after an error, which would else keep the decoder busy.
        with closing(self.decoder.frames_of(self._file(work), segment)) as found:
            for group in batched(found, FRAMES_IN_MEMORY, strict=False):
                rows = in_parallel(self.workers, partial(self._put, work), group)
                work.written.extend(row.id for row in rows)
                self.videos.add_frames(work.tenant, work.video.id, rows)

    def _file(self, work: _Work) -> RangedFile:
        """The video's file, unless it was replaced in a store that the tenant registered."""
        source = self.stores.holding(work.tenant, work.video.storage_path)
        key, expected = source.key_of(work.video.storage_path), work.event.metadata.get("etag")
        info = source.head(key)
        if expected is not None and info.etag != expected:
            raise ObjectChanged(f"{key} was replaced by another file")
        return RangedFile(source, key, info.size_bytes)

    def _put(self, work: _Work, frame: Frame) -> NewImage:
        row = new_frame(work.video, frame, work.store)
        work.store.put(work.store.key_of(row.storage_path), frame.jpeg, row.mime_type)
        return row

    def _release(self, work: _Work, segment: Segment) -> list[ImageUploaded]:
        """Events of the segment's frames that no stage has processed, within the window."""
        tenant, now = work.tenant, self.clock.now()
        end = None if segment.last else segment.end_seconds
        rows = self.videos.frames(tenant, work.video.id, segment.begin_seconds, end)
        # A frame's time counts from now, not from its video's upload.
        events = [image_uploaded(tenant.id, row, uploaded_at=now) for row in rows if row.step is Step.ACCEPTED]
        waiting = {event.image_id: _in_own_trace(event) for event in events}
        due = now + self.pending_due
        released = self.pending.admit_frames(tenant.id, list(waiting.values()), due)
        # A frame that ended while it was admitted must not stay pending.
        rows = self.videos.frames(tenant, work.video.id, segment.begin_seconds, end) if waiting else []
        ended = [(tenant.id, row.id) for row in rows if row.step >= Step.FAILED and row.id in waiting]
        return [*released, *(self.pending.finish(ended, due) if ended else ())]

    def _continue(self, work: _Work, segment: Segment, segments: Sequence[Segment]) -> tuple[Event, ...]:
        """The event of the segment that takes the place of a finished one, or those of an ended video."""
        all_done = self.videos.finish_segment(work.tenant, work.video.id, segment.number)
        self._settle_pending(work, ended=all_done)
        number = segment.number + PARALLEL_SEGMENTS
        following = [later for later in segments if later.number == number and not later.done]
        ends = events_of_ended_videos(self.videos, work.tenant, [work.video.id]) if all_done else ()
        return (*(part_of(work.event, later, segments) for later in following), *ends)

    def _settle_pending(self, work: _Work, *, ended: bool) -> None:
        if ended:
            self.pending_videos.finish(work.tenant.id, work.video.id)
        else:
            due = self.clock.now() + self.pending_videos_due
            self.pending_videos.postpone(work.tenant.id, work.video.id, due)

    def _remove(self, tenant: Tenant, store: ObjectStore, video_id: str, written: Sequence[str]) -> Outcome:
        """Remove what was written of a video that was deleted meanwhile."""
        now = self.clock.now()
        store.delete(original_key(image_id, ".jpg") for image_id in written)
        self.videos.mark_deleted(tenant, video_id, now)
        self.pending_videos.finish(tenant.id, video_id)
        return Done((deletion_request(tenant.id, video_id, now),), dropped="deleted")


def _in_own_trace(frame: ImageUploaded) -> ImageUploaded:
    """A frame is a trace of its own, linked to the one of its video, whose trace would else be too long to read."""
    return frame.model_copy(update={"traceparent": tracing.linked_root("frame", frame)})


def part_of(event: VideoUploaded, segment: Segment, segments: Sequence[Segment]) -> VideoUploaded:
    """The event of a segment."""
    changes = {"segment": segment.number, "duration": segments[-1].end_seconds, "event_id": ""}
    return event.model_copy(update=changes)


def frame_id(video_id: str, offset_seconds: float) -> str:
    """A frame's image id: the same video and offset is the same frame."""
    return f"img_{uuid5(NAMESPACE, f'{video_id}/{round(offset_seconds * 1e6)}').hex}"


def new_frame(video: VideoRecord, frame: Frame, store: ObjectStore) -> NewImage:
    image_id = frame_id(video.id, frame.offset_seconds)
    return NewImage(
        id=image_id,
        file_name=video.file_name,
        storage_path=store.uri(original_key(image_id, ".jpg")),
        mime_type="image/jpeg",
        size_bytes=len(frame.jpeg),
        sha256=hashlib.sha256(frame.jpeg).hexdigest(),
        uploaded_at=video.uploaded_at,
        tags=video.tags,
        metadata=video.metadata,
        video_id=video.id,
        frame_offset_seconds=frame.offset_seconds,
    )
