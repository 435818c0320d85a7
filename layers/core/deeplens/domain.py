"""The nouns of DeepLens, free of any vendor: tenants, images, models, matches."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import IntEnum
from typing import Any, Literal

from deeplens.budgets import IngestionPause
from deeplens.contracts.search import MatchLabel
from deeplens.duplicate_policy import REPORT, DuplicatePolicy
from deeplens.limits import UNLIMITED, ResourceLimits
from deeplens.videos import DEFAULT_SETTINGS, VideoSettings


@dataclass(frozen=True, slots=True)
class ModelRef:
    """An embedding model. Vectors of two models, or two versions of one, are never compared."""

    name: str
    version: str
    dimensions: int


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Least cosines of a model's match labels; what they mean differs from model to model."""

    exact: float
    near_duplicate: float
    similar: float

    def label(self, score: float) -> MatchLabel:
        if score >= self.exact:
            return "exact"
        if score >= self.near_duplicate:
            return "near-duplicate"
        return "similar" if score >= self.similar else "none"


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """What the inference endpoint says of a model.

    Attributes
    ----------
    thresholds : None when its manifest gives none; results then carry no label.
    text : whether it embeds text beside images.
    """

    ref: ModelRef
    thresholds: Thresholds | None = None
    text: bool = False


type TenantStatus = Literal["provisioning", "active", "suspended", "deleting", "deleted"]


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant's row: where its data lives and which model its searches use.

    Attributes
    ----------
    database_url : the tenant's own database, with the credentials of its own role.
    storage_uri : root of its store, ``s3://bucket``, ``minio://bucket`` or ``nfs://directory``.
    qdrant_url : endpoint that holds its collections.
    model : what searches use.
    thresholds, text : of ``model``: what its scores mean, and whether it embeds texts beside images.
    target : a second model that every image is embedded with, while one is rolled out or may be rolled back to.
    limits : its own; the platform's defaults fill in.
    notified : of what its webhooks, or chats, want to be told.
    paused : until when its budget takes no more uploads.
    duplicates : what it wants done about duplicates.
    video : how its videos become frames.
    """

    id: str
    name: str
    status: TenantStatus
    database_url: str = field(repr=False)
    storage_uri: str
    qdrant_url: str
    model: ModelRef
    thresholds: Thresholds | None = None
    text: bool = False
    target: ModelRef | None = None
    limits: ResourceLimits = UNLIMITED
    notified: frozenset[str] = frozenset()
    paused: IngestionPause | None = None
    duplicates: DuplicatePolicy = REPORT
    video: VideoSettings = DEFAULT_SETTINGS

    @property
    def collection(self) -> str:
        return collection_name(self.id, self.model)

    @property
    def models(self) -> tuple[ModelRef, ...]:
        """Every model whose collection is kept up to date, the searched one first."""
        return (self.model, self.target) if self.target else (self.model,)

    def using(self, model: ModelRef) -> "Tenant":
        """The tenant as its ports see it when they are to work on another of its collections."""
        return self if model == self.model else replace(self, model=model, thresholds=None, text=False, target=None)


def collection_name(tenant_id: str, model: ModelRef) -> str:
    """One collection per tenant, model and version."""
    return f"{tenant_id}__{model.name}__{model.version}"


class Step(IntEnum):
    """How far an image has come. ``COMPLETED`` outranks ``FAILED``: what is searchable did not fail."""

    ACCEPTED = 0
    PREPROCESSED = 1
    EXTRACTED = 2
    INDEXED = 3
    FAILED = 4
    COMPLETED = 5


LAST_GENERATION = 2**31 - 1
"""No image comes so far: what is said of it is said of all its generations."""


@dataclass(frozen=True, slots=True)
class NewImage:
    """What is known when an upload is accepted; of a frame also its video and its offset there."""

    id: str
    file_name: str
    storage_path: str
    mime_type: str
    size_bytes: int
    sha256: str
    uploaded_at: datetime
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    video_id: str | None = None
    frame_offset_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image's row.

    Attributes
    ----------
    generation, step : state, compared as a pair; an event of an older generation is dropped.
    revision : rises with every change of tags or metadata, so that a concurrent indexing notices it.
    """

    id: str
    file_name: str
    storage_path: str
    mime_type: str
    size_bytes: int
    sha256: str
    uploaded_at: datetime
    updated_at: datetime
    generation: int
    step: Step
    revision: int
    tags: tuple[str, ...]
    metadata: dict[str, Any]
    width: int | None = None
    height: int | None = None
    format: str | None = None
    completed_at: datetime | None = None
    processing_seconds: float | None = None
    model: str | None = None
    model_version: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    error_retryable: bool | None = None
    attempt: int = 1
    video_id: str | None = None
    frame_offset_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A deleted image: kept 37 days, longer than any retention, so that no late event revives it.

    ``merged_into`` is the image that answers for it; such a tombstone stays.
    """

    image_id: str
    deleted_at: datetime
    receipt: dict[str, Any] | None = None
    merged_into: str | None = None


@dataclass(frozen=True, slots=True)
class StageResult:
    """One image's step forward, for its row and its timeline.

    Attributes
    ----------
    duration_seconds : work of this stage on this image.
    changes : columns of the row that the stage found out, e.g. ``{"width": 1920}``.
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
    """A line of an image's history."""

    stage: str
    step: Step
    generation: int
    occurred_at: datetime
    duration_seconds: float | None
    error_code: str | None
    error_message: str | None


@dataclass(frozen=True, slots=True)
class ImageQuery:
    """Filters and position for listing images, newest first.

    Attributes
    ----------
    statuses : API names: accepted, preprocessed, extracted, indexed, completed, failed; empty = all.
    tags : every one must be present.
    after : (uploaded_at, id) of the last image already seen.
    """

    limit: int = 50
    statuses: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    uploaded_from: datetime | None = None
    uploaded_before: datetime | None = None
    after: tuple[datetime, str] | None = None


@dataclass(frozen=True, slots=True)
class SearchFilter:
    """Payload filter of a search. ``metadata`` compares scalar values by equality; ``tags`` must all be present."""

    tags: tuple[str, ...] = ()
    metadata: dict[str, str | int | float | bool] = field(default_factory=dict)
    uploaded_from: datetime | None = None
    uploaded_before: datetime | None = None
    exclude_image_ids: tuple[str, ...] = ()
    exclude_video_ids: tuple[str, ...] = ()
    without_frames: bool = False


@dataclass(frozen=True, slots=True)
class Point:
    """A vector to index.

    Attributes
    ----------
    vector : float32 values, length = the collection's dimensions.
    payload : see ``deeplens.vectors.payload``.
    """

    image_id: str
    vector: list[float]
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Match:
    """A search hit; ``score`` is cosine similarity, -1..1."""

    image_id: str
    score: float
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store knows of an object without reading it."""

    key: str
    size_bytes: int
    content_type: str
    etag: str
    modified_at: datetime
