"""What the HTTP API takes and gives: camelCase in JSON bodies, snake_case in query strings."""

from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel

MAX_TAGS, MAX_METADATA_KEYS = 50, 50
PRINTABLE = r"^[^\x00-\x1f\x7f]+$"
Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64, pattern=PRINTABLE)]
Tags = Annotated[list[Tag], Field(max_length=MAX_TAGS)]
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=PRINTABLE)]
MetadataText = Annotated[str, StringConstraints(strict=True, max_length=1024, pattern=r"^[^\x00]*$")]
MetadataNumber = Annotated[StrictInt, Field(ge=-(2**53), le=2**53)] | Annotated[StrictFloat, Field(allow_inf_nan=False)]
MetadataValue = StrictBool | MetadataNumber | MetadataText
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=MAX_METADATA_KEYS)]
Status = Literal["accepted", "preprocessed", "extracted", "indexed", "completed", "failed"]

ID = "img_01kd1v8q4w2m6n9r5t7x3z0abc"
AT = "2026-11-20T10:30:00Z"
LINKS = {
    "self": f"/v1/images/{ID}",
    "content": f"/v1/images/{ID}/content",
    "thumbnails": {"small": f"/v1/images/{ID}/thumbnails/small", "medium": f"/v1/images/{ID}/thumbnails/medium"},
    "similar": f"/v1/images/{ID}/similar",
}
FILE = {
    "imageId": ID,
    "fileName": "harbour.jpg",
    "mimeType": "image/jpeg",
    "sizeBytes": 2048576,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "uploadedAt": AT,
}
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


def example(*values: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": list(values)})


class ApiModel(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, allow_inf_nan=False, protected_namespaces=()
    )


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


class ModelVersion(ApiModel):
    name: str
    version: str


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
    video_id: str | None = Field(default=None, description="of a frame; frames are in no list of images")
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
    """Each member that is present replaces what the image has."""

    model_config = ConfigDict(extra="forbid", **example({"tags": ["sea"], "metadata": {"camera": "X100"}}))

    tags: Tags | None = None
    metadata: Metadata | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.tags is None and self.metadata is None:
            raise ValueError("give tags, metadata or both")
        return self


class DeletionReceipt(ApiModel):
    """What was removed of a deleted image. Receipts of deletions before models were noted list none."""

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
    objects: list[str] = Field(default=[], description="keys of the original and of all that was made of it")
    vectors: int = Field(default=0, description="points removed")
    models: list[str] = Field(default=[], description="whose points they were, name and version")
    row_removed: bool = Field(default=False, description="with its timeline")


class DeletedImage(ApiModel):
    """The image is gone from every answer at once; its objects, vector and row are removed shortly."""

    model_config = example({"imageId": ID, "status": "deleting"})

    image_id: str
    status: Literal["deleting"] = "deleting"


class Filters(BaseModel):
    """Filters that listing and searching share. Unknown parameters are refused, so that a typo is noticed."""

    model_config = ConfigDict(extra="forbid")

    tag: list[Tag] = Field(default=[], max_length=20, description="repeatable; every one must be present")
    uploaded_from: AwareDatetime | None = Field(default=None, description=f"inclusive, e.g. {AT}")
    uploaded_before: AwareDatetime | None = Field(default=None, description="exclusive")


class ListQuery(Filters):
    status: list[Status] = Field(default=[], max_length=6, description="repeatable; any of them")
    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = Field(default=None, max_length=256, description="``nextCursor`` of the page before")


Day = Annotated[date, Field(ge=date(2000, 1, 1))]


class UsageQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    first: Day | None = Field(default=None, alias="from", description="first day (UTC), inclusive")
    last: Day | None = Field(default=None, alias="to", description="last day (UTC), inclusive; today if absent")


class EffectiveLimits(ApiModel):
    """What counts for the tenant; null is unlimited."""

    max_images: int | None = None
    max_bytes: int | None = None
    requests_per_minute: int | None = None
    max_file_bytes: int


class DayQuantity(ApiModel):
    day: date
    quantity: float


class Health(ApiModel):
    model_config = example({"status": "ok"})

    status: Literal["ok"] = "ok"


class Fault(ApiModel):
    """One member of the request that is wrong; ``pointer`` is a JSON pointer into the named place."""

    place: Literal["body", "query", "path", "header", "cookie"] = Field(alias="in")
    pointer: str
    detail: str


class Problem(ApiModel):
    """RFC 9457. ``type`` is stable and names the problem; ``requestId`` finds the request in the logs."""

    model_config = example(
        {
            "type": "/problems/image-not-found",
            "title": "Image not found",
            "status": 404,
            "detail": f"There is no image {ID}.",
            "instance": f"/v1/images/{ID}",
            "requestId": "0b7c5f0d2f6e4a0f9a55a3f6f3f0c7b1",
        }
    )

    type: str
    title: str
    status: int
    detail: str | None = None
    instance: str | None = None
    request_id: str | None = None
    errors: list[Fault] | None = None
