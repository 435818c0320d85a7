"""Images and their state, and what they have in common with videos."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any


class Step(IntEnum):
    """The step that an image has reached. ``COMPLETED`` outranks ``FAILED``: a searchable image did not fail."""

    ACCEPTED = 0
    PREPROCESSED = 1
    EXTRACTED = 2
    INDEXED = 3
    FAILED = 4
    COMPLETED = 5


LAST_GENERATION = 2**31 - 1
"""Upper bound that matches every generation."""


def is_video(media_id: str) -> bool:
    """Whether an id is that of a video and not of an image."""
    return media_id.startswith("vid_")


def about_media(media_id: str | None) -> dict[str, str]:
    """The id of an image or a video, under the name of its field in an event."""
    if media_id is None:
        return {}
    return {"video_id" if is_video(media_id) else "image_id": media_id}


@dataclass(frozen=True, slots=True)
class NewMedia:
    """An accepted upload: an image, or a video, whose bytes may not have been read yet."""

    id: str
    file_name: str
    storage_path: str
    mime_type: str
    size_bytes: int
    sha256: str | None
    uploaded_at: datetime
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewImage(NewMedia):
    """An image to insert; a frame has its video and its offset there."""

    sha256: str
    video_id: str | None = None
    frame_offset_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaRecord:
    """The columns that the rows of images and of videos have in common."""

    id: str
    file_name: str
    storage_path: str
    mime_type: str
    size_bytes: int
    sha256: str | None
    uploaded_at: datetime
    updated_at: datetime
    tags: tuple[str, ...]
    metadata: dict[str, Any]
    width: int | None = None
    height: int | None = None
    completed_at: datetime | None = None
    error_code: str | None = None
    error_message: str | None = None
    error_retryable: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord(MediaRecord):
    """One image's row.

    Attributes
    ----------
    generation, step : state, compared as a pair; an event of an older generation is dropped.
    revision : rises with every change of tags or metadata, so that a concurrent indexing notices it.
    """

    sha256: str
    generation: int
    step: Step
    revision: int
    format: str | None = None
    processing_seconds: float | None = None
    model: str | None = None
    model_version: str | None = None
    attempt: int = 1
    video_id: str | None = None
    frame_offset_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A deleted image or video: kept 37 days, longer than any retention, so that no late event revives it.

    ``merged_into`` is the image that an image's id redirects to; such a tombstone is kept forever.
    """

    id: str
    deleted_at: datetime
    receipt: dict[str, Any] | None = None
    merged_into: str | None = None


@dataclass(frozen=True, slots=True)
class StageResult:
    """The result of a stage for one image, for its row and its timeline.

    Attributes
    ----------
    duration_seconds : work of this stage on this image.
    changes : columns of the row that the stage determined, e.g. ``{"width": 1920}``.
    """

    image_id: str
    generation: int
    step: Step
    stage: str
    occurred_at: datetime
    duration_seconds: float | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    error_code: str | None = None
    error_message: str | None = None
    error_retryable: bool | None = None
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """An entry of an image's timeline."""

    stage: str
    step: Step
    generation: int
    occurred_at: datetime
    duration_seconds: float | None
    error_code: str | None
    error_message: str | None


@dataclass(frozen=True, slots=True)
class MediaQuery:
    """Filters and position for listing images or videos, newest first.

    Attributes
    ----------
    statuses : names of the API, e.g. completed and failed; empty = all.
    tags : every one must be present.
    after : (uploaded_at, id) of the last entry of the page before.
    """

    limit: int = 50
    statuses: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    uploaded_from: datetime | None = None
    uploaded_before: datetime | None = None
    after: tuple[datetime, str] | None = None


type LogPosition = tuple[datetime, int]
"""When a timeline entry was recorded, and its id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedEvent(TimelineEntry):
    """A timeline entry, and its position among all entries of the tenant."""

    id: int
    image_id: str
    recorded_at: datetime

    @property
    def position(self) -> LogPosition:
        return self.recorded_at, self.id


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Filters and position.

    Attributes
    ----------
    before : entries older than this position, newest first; None begins with the newest.
    after : entries newer than this position, oldest first; wins over ``before``.
    """

    limit: int = 50
    image_id: str | None = None
    stage: str | None = None
    step: Step | None = None
    errors: bool = False
    before: LogPosition | None = None
    after: LogPosition | None = None
