"""Videos in dictionaries, over the fake images; held to the same promises as PostgreSQL by ``VideosSuite``."""

import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from deeplens.errors import QuotaExceeded
from deeplens.events.videos import VideoUploaded
from deeplens.images.model import ImageRecord, MediaQuery, NewImage, Step, Tombstone
from deeplens.tenants.limits import UNLIMITED, ResourceLimits, Storage, allowance
from deeplens.tenants.model import Tenant
from deeplens.videos.model import NewVideo, Segment, VideoFacts, VideoRecord

from tests.fakes.db import FakeImages

FRAMES_FAILED = "VIDEO_FRAMES_FAILED"
"""What the database's trigger writes where more than a fifth of a video's frames failed."""


class FakeVideos:
    """``VideoRepository``; a video's counts and status are worked out when it is looked at."""

    def __init__(self, images: FakeImages) -> None:
        self._images, self._lock = images, threading.RLock()
        self._rows: dict[str, dict[str, VideoRecord]] = defaultdict(dict)
        self._tombstones: dict[str, dict[str, Tombstone]] = defaultdict(dict)
        self._segments: dict[tuple[str, str], dict[int, Segment]] = defaultdict(dict)
        self._starts: dict[tuple[str, str, int | None], int] = defaultdict(int)

    def insert(self, tenant: Tenant, video: NewVideo, limits: ResourceLimits = UNLIMITED) -> VideoRecord | Tombstone:
        with self._lock:
            if video.id not in self._rows[tenant.id] and video.id not in self._tombstones[tenant.id]:
                used = self._images.totals(tenant)
                stored = used.bytes + sum(row.size_bytes for row in self._rows[tenant.id].values())
                if allowance(limits, Storage(0, stored), Storage(0, video.size_bytes)).exceeded:
                    raise QuotaExceeded(used.images, stored)
                given = asdict(video) | {"updated_at": video.uploaded_at, "status": "accepted"}
                self._rows[tenant.id][video.id] = VideoRecord(**given)
            found = self.find(tenant, video.id)
            assert found is not None
            return found

    def find(self, tenant: Tenant, video_id: str) -> VideoRecord | Tombstone | None:
        with self._lock:
            if video_id in self._tombstones[tenant.id]:
                return self._tombstones[tenant.id][video_id]
            row = self._rows[tenant.id].get(video_id)
            return row and self._settled(tenant, row)

    def ended(self, tenant: Tenant, video_ids: Sequence[str]) -> list[VideoRecord]:
        rows = [self.find(tenant, video_id) for video_id in sorted(set(video_ids))]
        return [row for row in rows if isinstance(row, VideoRecord) and row.status in ("completed", "failed")]

    def page(self, tenant: Tenant, query: MediaQuery) -> list[VideoRecord]:
        live = [row for row in (self.find(tenant, one) for one in self._rows[tenant.id]) if _live(row)]
        matching = [row for row in live if isinstance(row, VideoRecord) and _matches(row, query)]
        return sorted(matching, key=lambda row: (row.uploaded_at, row.id), reverse=True)[: query.limit]

    def names(self, tenant: Tenant, video_ids: Sequence[str]) -> dict[str, str]:
        rows = [self.find(tenant, video_id) for video_id in video_ids]
        return {row.id: row.file_name for row in rows if isinstance(row, VideoRecord)}

    def plan(
        self, tenant: Tenant, video_id: str, facts: VideoFacts, segments: Sequence[Segment]
    ) -> tuple[Segment, ...]:
        with self._lock:
            row = self._rows[tenant.id].get(video_id)
            if row is not None and row.segments is None:
                known = asdict(facts) | {"segments": len(segments)}
                status = "processing" if row.status == "accepted" else row.status
                self._rows[tenant.id][video_id] = replace(row, status=status, **known)
                self._segments[tenant.id, video_id] = {segment.number: segment for segment in segments}
            return self.segments(tenant, video_id)

    def segments(self, tenant: Tenant, video_id: str) -> tuple[Segment, ...]:
        return tuple(self._segments[tenant.id, video_id].values())

    def start(self, tenant: Tenant, video_id: str, segment: int | None) -> int:
        self._starts[tenant.id, video_id, segment] += 1
        return self._starts[tenant.id, video_id, segment]

    def stop(self, tenant: Tenant, video_id: str, segment: int | None) -> None:
        self._starts.pop((tenant.id, video_id, segment), None)

    def add_frames(self, tenant: Tenant, video_id: str, frames: Sequence[NewImage]) -> None:
        video = self.find(tenant, video_id)
        for frame in frames if isinstance(video, VideoRecord) else ():
            known = {
                "file_name": video.file_name,
                "tags": video.tags,
                "metadata": video.metadata,
                "uploaded_at": video.uploaded_at,
                "video_id": video_id,
            }
            self._images.insert(tenant, replace(frame, **known))

    def frames(
        self, tenant: Tenant, video_id: str, begin: float = 0, end: float | None = None, limit: int | None = None
    ) -> list[ImageRecord]:
        found = [
            row
            for row in self._images.rows(tenant).values()
            if row.video_id == video_id and begin <= _offset(row) and (end is None or _offset(row) < end)
        ]
        return sorted(found, key=lambda row: (_offset(row), row.id))[:limit]

    def frame_ids(self, tenant: Tenant, video_id: str) -> list[str]:
        return [row.id for row in self._images.all_rows(tenant).values() if row.video_id == video_id]

    def finish_segment(self, tenant: Tenant, video_id: str, segment: int) -> bool:
        with self._lock:
            parts = self._segments[tenant.id, video_id]
            if segment in parts:
                parts[segment] = replace(parts[segment], done=True)
            return all(segment_row.done for segment_row in parts.values() if segment_row.number != segment)

    def fail(self, tenant: Tenant, video_id: str, code: str, message: str, retryable: bool) -> None:
        row = self.find(tenant, video_id)
        if isinstance(row, VideoRecord) and row.status not in ("completed", "failed"):
            why = {"error_code": code, "error_message": message, "error_retryable": retryable}
            self._rows[tenant.id][video_id] = replace(row, status="failed", **why)

    def mark_deleted(self, tenant: Tenant, video_id: str, at: datetime) -> bool:
        with self._lock:
            if video_id in self._rows[tenant.id]:
                self._tombstones[tenant.id].setdefault(video_id, Tombstone(video_id, at))
            if video_id not in self._tombstones[tenant.id]:
                return False
            for image_id in self.frame_ids(tenant, video_id):
                self._images.mark_deleted(tenant, image_id, at)
            return True

    def delete_rows(self, tenant: Tenant, video_id: str, receipt: dict[str, Any]) -> None:
        with self._lock:
            if video_id in self._tombstones[tenant.id]:
                kept = replace(self._tombstones[tenant.id][video_id], receipt=receipt)
                self._tombstones[tenant.id][video_id] = kept
                self._rows[tenant.id].pop(video_id, None)
                self._segments.pop((tenant.id, video_id), None)

    def _settled(self, tenant: Tenant, row: VideoRecord) -> VideoRecord:
        parts = self._segments[tenant.id, row.id].values()
        frames = self.frames(tenant, row.id)
        done = [frame for frame in frames if frame.step is Step.COMPLETED]
        failed = [frame for frame in frames if frame.step is Step.FAILED]
        counts = {"frames": len(frames), "frames_completed": len(done), "frames_failed": len(failed)}
        row = replace(row, segments_done=sum(part.done for part in parts), **counts)
        ended = parts and all(part.done for part in parts) and len(done) + len(failed) == len(frames)
        if not ended or row.error_code not in (None, FRAMES_FAILED):
            return row
        if len(failed) * 5 > len(frames):
            why = {"error_code": FRAMES_FAILED, "error_message": f"{len(failed)} of {len(frames)} frames failed"}
            return replace(row, status="failed", error_retryable=False, **why)
        return replace(row, status="completed", error_code=None, completed_at=row.completed_at or row.uploaded_at)


class FakePendingVideos:
    """``PendingVideos`` in a dictionary."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], tuple[VideoUploaded, datetime]] = {}

    def admit(self, event: VideoUploaded, due: datetime) -> VideoUploaded:
        key = (event.tenant_id, event.video_id)
        first, before = self.rows.get(key, (event, due))
        self.rows[key] = (first, max(before, due))
        return first

    def postpone(self, tenant_id: str, video_id: str, due: datetime) -> None:
        if row := self.rows.get((tenant_id, video_id)):
            self.rows[tenant_id, video_id] = (row[0], max(row[1], due))

    def finish(self, tenant_id: str, video_id: str) -> None:
        self.rows.pop((tenant_id, video_id), None)

    def overdue(self, now: datetime, due: datetime, limit: int) -> list[VideoUploaded]:
        late = sorted((row[1], key) for key, row in self.rows.items() if row[1] < now)[:limit]
        for _, key in late:
            self.rows[key] = (self.rows[key][0], due)
        return [self.rows[key][0] for _, key in late]


def _offset(row: ImageRecord) -> float:
    return row.frame_offset_seconds or 0.0


def _live(row: object) -> bool:
    return isinstance(row, VideoRecord)


def _matches(row: VideoRecord, query: MediaQuery) -> bool:
    return (
        (not query.statuses or row.status in query.statuses)
        and set(query.tags) <= set(row.tags)
        and (query.uploaded_from is None or row.uploaded_at >= query.uploaded_from)
        and (query.uploaded_before is None or row.uploaded_at < query.uploaded_before)
        and (query.after is None or (row.uploaded_at, row.id) < query.after)
    )
