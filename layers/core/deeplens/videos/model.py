"""Videos, segments, and the ports to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NewType, Protocol

from deeplens.events.videos import VideoUploaded
from deeplens.images.model import ImageRecord, MediaQuery, MediaRecord, NewImage, NewMedia, Tombstone
from deeplens.tenants.limits import UNLIMITED, ResourceLimits
from deeplens.tenants.model import Tenant

PendingVideosDue = NewType("PendingVideosDue", timedelta)
"""How long an accepted video may be in flight before the schedule sends it again."""


type VideoStatus = Literal["accepted", "processing", "completed", "failed"]


@dataclass(frozen=True, slots=True)
class NewVideo(NewMedia):
    """A video to insert."""


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """The properties of a video file.

    Attributes
    ----------
    width, height : pixels as it is shown: upright, and square.
    fps : frames per second on average; 0 where the file does not say.
    codec, container : as FFmpeg names them, e.g. ``h264`` and ``mp4``.
    """

    duration_seconds: float
    width: int
    height: int
    fps: float
    codec: str
    container: str


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a video that one event is about.

    Attributes
    ----------
    begin_seconds, end_seconds : the half-open interval of its frames' offsets.
    max_frames : that it may give.
    every_seconds : the longest time without a frame.
    last : whether what follows ``end_seconds``, where the file said too little, belongs to it as well.
    """

    number: int
    begin_seconds: float
    end_seconds: float
    max_frames: int
    every_seconds: float
    last: bool = False
    done: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRecord(MediaRecord):
    """One video's row.

    Attributes
    ----------
    segments, segments_done : None and 0 until it has been probed.
    frames, frames_completed, frames_failed : as of the last frame that ended.
    """

    status: VideoStatus
    duration_seconds: float | None = None
    fps: float | None = None
    codec: str | None = None
    container: str | None = None
    segments: int | None = None
    segments_done: int = 0
    frames: int = 0
    frames_completed: int = 0
    frames_failed: int = 0

    @property
    def ended(self) -> bool:
        return self.status in ("completed", "failed")


class VideoRepository(Protocol):
    """Videos of one tenant's database. Every method raises ``DatabaseUnavailable``."""

    def insert(self, tenant: Tenant, video: NewVideo, limits: ResourceLimits = UNLIMITED) -> VideoRecord | Tombstone:
        """Create the row (accepted) or return what already has this id. ``QuotaExceeded`` beyond ``max_bytes``."""

    def find(self, tenant: Tenant, video_id: str) -> VideoRecord | Tombstone | None: ...

    def ended(self, tenant: Tenant, video_ids: Sequence[str]) -> list[VideoRecord]:
        """Those of them that completed or failed, by id."""

    def page(self, tenant: Tenant, query: MediaQuery) -> list[VideoRecord]:
        """At most ``query.limit`` videos, newest first; tombstoned ones never."""

    def names(self, tenant: Tenant, video_ids: Sequence[str]) -> dict[str, str]:
        """File names of live videos by id."""

    def plan(
        self, tenant: Tenant, video_id: str, facts: VideoFacts, segments: Sequence[Segment]
    ) -> tuple[Segment, ...]:
        """Keep the facts and the segments. The first plan stays: a repeat returns that one."""

    def segments(self, tenant: Tenant, video_id: str) -> tuple[Segment, ...]:
        """By number; none before the plan."""

    def start(self, tenant: Tenant, video_id: str, segment: int | None) -> int:
        """Count an attempt at a segment, or at the probe; returns how many have not ended."""

    def stop(self, tenant: Tenant, video_id: str, segment: int | None) -> None:
        """Note that the attempt ended, with or without success."""

    def add_frames(self, tenant: Tenant, video_id: str, frames: Sequence[NewImage]) -> None:
        """Rows of frames, in one statement; those that are there, or were deleted, stay as they are."""

    def frames(
        self, tenant: Tenant, video_id: str, begin: float = 0, end: float | None = None, limit: int | None = None
    ) -> list[ImageRecord]:
        """Live frames by offset, ``begin <= offset < end``."""

    def frame_ids(self, tenant: Tenant, video_id: str) -> list[str]:
        """Ids of all its frames' rows, those of deleted ones included."""

    def finish_segment(self, tenant: Tenant, video_id: str, segment: int) -> bool:
        """Note that all frames of a segment have rows. True when that holds for all segments.

        The video completes, or fails, in the transaction in which its last segment or its last frame ends.
        """

    def fail(self, tenant: Tenant, video_id: str, code: str, message: str, retryable: bool) -> None:
        """End a video that has not ended yet."""

    def mark_deleted(self, tenant: Tenant, video_id: str, at: datetime) -> bool:
        """Write the tombstones of the video and of its frames. False when there never was such a video."""

    def delete_rows(self, tenant: Tenant, video_id: str, receipt: dict[str, Any]) -> None:
        """Remove the row of a tombstoned video, keep the receipt; safe to repeat."""


class PendingVideos(Protocol):
    """Accepted videos whose segments are not all done, over all tenants. Raises ``DatabaseUnavailable``."""

    def admit(self, event: VideoUploaded, due: datetime) -> VideoUploaded:
        """Record an accepted video before anything else is written; returns the event that came first."""

    def postpone(self, tenant_id: str, video_id: str, due: datetime) -> None:
        """Do not send it again before ``due``: an event of it is in flight."""

    def finish(self, tenant_id: str, video_id: str) -> None:
        """Delete it."""

    def overdue(self, now: datetime, due: datetime, limit: int) -> list[VideoUploaded]:
        """Videos that are due, oldest first; they get a new due time. One query over all tenants."""
