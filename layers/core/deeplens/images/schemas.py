"""HTTP bodies of images and their events."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from deeplens.http.schemas import (
    AT,
    FILE,
    ID,
    LINKS,
    MAX_METADATA_KEYS,
    MAX_TAGS,
    ApiModel,
    MetadataKey,
    MetadataValue,
    ModelVersion,
    Tag,
    example,
)

Tags = Annotated[list[Tag], Field(max_length=MAX_TAGS)]

Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=MAX_METADATA_KEYS)]

Status = Literal["accepted", "preprocessed", "extracted", "indexed", "completed", "failed"]

SUMMARY = {
    **FILE,
    "status": "completed",
    "format": "JPEG",
    "width": 1920,
    "height": 1080,
    "tags": ["landscape", "sea"],
    "metadata": {"camera": "X100", "iso": 200},
    "updatedAt": "2026-11-20T10:30:02Z",
    "completedAt": "2026-11-20T10:30:02Z",
    "processingSeconds": 1.9,
    "model": {"name": "deeplens-visual", "version": "1"},
    "links": LINKS,
}

STAGE = {
    "stage": "preprocess",
    "status": "preprocessed",
    "generation": 1,
    "occurredAt": "2026-11-20T10:30:01Z",
    "durationSeconds": 0.21,
}


class ThumbnailLinks(ApiModel):
    small: str
    medium: str


class ImageLinks(ApiModel):
    """Path-absolute references, to be resolved against the address the API was called at."""

    this: str = Field(alias="self")
    content: str
    thumbnails: ThumbnailLinks
    similar: str


class AcceptedImage(ApiModel):
    """An upload that will be processed; a repeat with the same Idempotency-Key gives the same answer."""

    model_config = example({**FILE, "status": "accepted", "links": LINKS})

    image_id: str
    status: Literal["accepted"] = "accepted"
    file_name: str
    mime_type: str
    size_bytes: int
    sha256: str
    uploaded_at: AwareDatetime
    links: ImageLinks


class ImageError(ApiModel):
    """Why an image failed; ``retryable`` says whether the same file may succeed later."""

    code: str
    message: str
    retryable: bool
    attempt: int


class ImageSummary(ApiModel):
    model_config = example(SUMMARY)

    image_id: str
    status: Status
    file_name: str
    mime_type: str
    format: str | None = None
    width: int | None = Field(default=None, description="pixels, EXIF orientation applied; known once preprocessed")
    height: int | None = None
    size_bytes: int
    sha256: str
    tags: list[str]
    metadata: dict[str, Any]
    uploaded_at: AwareDatetime
    updated_at: AwareDatetime
    completed_at: AwareDatetime | None = None
    processing_seconds: float | None = Field(default=None, description="from acceptance to searchable")
    model: ModelVersion | None = None
    error: ImageError | None = None
    video_id: str | None = Field(default=None, description="set for frames, which no list of images contains")
    offset_seconds: float | None = None
    links: ImageLinks


class TimelineStage(ApiModel):
    stage: str
    status: Status
    generation: int
    occurred_at: AwareDatetime
    duration_seconds: float | None = None
    error_code: str | None = None
    error_message: str | None = None


class ImageDetail(ImageSummary):
    model_config = example({**SUMMARY, "timeline": [STAGE]})

    timeline: list[TimelineStage] = Field(description="oldest first")


class ImagePage(ApiModel):
    model_config = example({"images": [SUMMARY], "nextCursor": "eyJ2IjoxfQ"})

    images: list[ImageSummary] = Field(description="newest first")
    next_cursor: str | None = Field(
        default=None, description="pass as ``cursor`` with the same filters; null on the last page"
    )


class ImagePatch(ApiModel):
    """Each member that is present replaces the image's value."""

    model_config = ConfigDict(extra="forbid", **example({"tags": ["sea"], "metadata": {"camera": "X100"}}))

    tags: Tags | None = None
    metadata: Metadata | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.tags is None and self.metadata is None:
            raise ValueError("give tags, metadata or both")
        return self


class DeletionReceipt(ApiModel):
    """What was removed of a deleted image. Old receipts list no models."""

    model_config = example(
        {
            "imageId": ID,
            "status": "deleted",
            "requestedAt": AT,
            "completedAt": "2026-11-20T10:30:02Z",
            "objects": [f"images/{ID}.jpg", f"processed/{ID}.jpg"],
            "vectors": 1,
            "models": ["deeplens-visual 2"],
            "rowRemoved": True,
        }
    )

    image_id: str
    status: Literal["deleting", "deleted"]
    requested_at: AwareDatetime
    completed_at: AwareDatetime | None = None
    objects: list[str] = Field(default=[], description="keys of the original and of all files derived from it")
    vectors: int = Field(default=0, description="points removed")
    models: list[str] = Field(default=[], description="names and versions of the models of these points")
    row_removed: bool = Field(default=False, description="with its timeline")


class DeletedImage(ApiModel):
    """The image disappears from every answer at once; its objects, vector and row are removed shortly."""

    model_config = example({"imageId": ID, "status": "deleting"})

    image_id: str
    status: Literal["deleting"] = "deleting"


class Filters(BaseModel):
    """Filters that listing and searching share. Unknown parameters are rejected, so that a typo is noticed."""

    model_config = ConfigDict(extra="forbid")

    tag: list[Tag] = Field(default=[], max_length=20, description="repeatable; every one must be present")
    uploaded_from: AwareDatetime | None = Field(default=None, description=f"inclusive, e.g. {AT}")
    uploaded_before: AwareDatetime | None = Field(default=None, description="exclusive")


class MediaListQuery(Filters):
    """The page of a list of images or videos."""

    status: Sequence[str]
    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = Field(default=None, max_length=256, description="``nextCursor`` of the page before")


class ListQuery(MediaListQuery):
    status: list[Status] = Field(default=[], max_length=6, description="repeatable; any of them")


EVENT = {**STAGE, "eventId": "4711", "imageId": ID, "recordedAt": "2026-11-20T10:30:02Z"}
Stage = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_-]{0,39}$")]


class LogQueryParameters(BaseModel):
    model_config = ConfigDict(extra="forbid")

    image_id: Annotated[str, StringConstraints(pattern=r"^img_[a-z0-9]{1,40}$")] | None = None
    stage: Stage | None = Field(default=None, description="accept, preprocess, extract, index, complete, …")
    status: Status | None = Field(default=None, description="that the image had reached then")
    errors: bool = Field(default=False, description="only failures, final or to be retried")
    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = Field(default=None, max_length=256, description="``nextCursor`` of the page before")
    after: str | None = Field(
        default=None, max_length=256, description="``tailCursor``: what came since, the oldest first; not with cursor"
    )


class ImageEventView(TimelineStage):
    """A stage of an image: when, for how long, and why it failed or waits. ``eventId`` is unique in the tenant."""

    model_config = example(EVENT)

    event_id: str
    image_id: str
    recorded_at: AwareDatetime = Field(
        description="when it was recorded, which gives the order; ``occurredAt`` is before"
    )


class EventPage(ApiModel):
    model_config = example({"events": [EVENT], "nextCursor": None, "tailCursor": "WyIyMDI2LTExLTIwIiwiMCJd"})

    events: list[ImageEventView] = Field(description="newest first; with ``after`` oldest first")
    next_cursor: str | None = Field(
        default=None, description="older ones: pass as ``cursor`` with the same filters; null on the last page"
    )
    tail_cursor: str = Field(description="pass as ``after`` later: no event will have been missed")


class ImageTimeline(ApiModel):
    model_config = example({"imageId": ID, "events": [STAGE]})

    image_id: str
    events: list[TimelineStage] = Field(description="oldest first")
