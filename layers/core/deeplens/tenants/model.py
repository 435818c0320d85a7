"""Tenants: where their data is, which model they search with, and what applies to them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, TypeGuard

from deeplens.embedding.model import ModelRef, Thresholds, collection_name
from deeplens.tenants.limits import UNLIMITED, ResourceLimits

TenantStatus = Literal["provisioning", "active", "suspended", "deleting", "deleted"]


@dataclass(frozen=True, slots=True)
class IngestionPause:
    """Uploads are refused until ``until``, as the budget of ``metric`` is exhausted."""

    metric: str
    until: datetime


@dataclass(frozen=True, slots=True)
class DuplicatePolicy:
    """A tenant's policy about duplicates.

    Attributes
    ----------
    action : list duplicates for review; also reject duplicate files; also merge exact copies.
    undo_seconds : how long a merge can be undone.
    """

    action: Literal["report", "reject", "auto-merge-exact"] = "report"
    undo_seconds: int = 7 * 86_400


REPORT = DuplicatePolicy()
"""The default policy."""


@dataclass(frozen=True, slots=True)
class VideoSettings:
    """How a tenant's videos are split into frames.

    Attributes
    ----------
    frame_every_seconds : maximum time between two frames, scene cuts aside.
    max_frames : limit for one video; a video that would exceed it is sampled less often.
    in_duplicate_review : whether frames are compared with other images and shown to reviewers.
    """

    frame_every_seconds: float = 5.0
    max_frames: int = 1000
    in_duplicate_review: bool = False


DEFAULT_SETTINGS = VideoSettings()


def video_settings_of(row: Mapping[str, Any]) -> VideoSettings:
    """The ``video`` of a tenant's row, by the names of the fields; invalid values become the defaults."""
    every, limit = row.get("frame_every_seconds"), row.get("max_frames")
    return VideoSettings(
        float(every) if _positive(every) else DEFAULT_SETTINGS.frame_every_seconds,
        int(limit) if _positive(limit) else DEFAULT_SETTINGS.max_frames,
        row.get("in_duplicate_review") is True,
    )


def _positive(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant's row: where its data is and which model its searches use.

    Attributes
    ----------
    database_url : the tenant's own database, with the credentials of its own role.
    storage_uri : root of its store: ``s3://bucket``, ``minio://bucket`` or ``nfs://directory``.
    qdrant_url : endpoint that holds its collections.
    model : what searches use.
    thresholds, text : of ``model``: what its scores mean, and whether it embeds texts beside images.
    target : a second model that every image is embedded with, while one is rolled out or may be rolled back to.
    limits : its own; the platform's defaults fill in.
    notified : types of notifications that its webhooks or chats subscribe to.
    paused : set while a budget refuses uploads.
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
        """The tenant with another of its models: ports then use that model's collection."""
        return self if model == self.model else replace(self, model=model, thresholds=None, text=False, target=None)

    def effective_limits(self, defaults: ResourceLimits) -> ResourceLimits:
        """The tenant's own limits, completed by the platform's defaults; None is unlimited."""
        return self.limits.with_defaults(defaults)


@dataclass(frozen=True, slots=True)
class TenantRecord:
    """A tenant's row as operators see it, in any status; ``progress`` has the completed steps of its last change."""

    id: str
    name: str
    status: TenantStatus
    own_database_server: bool
    storage_uri: str
    qdrant_url: str | None
    model: ModelRef
    limits: ResourceLimits
    settings: dict[str, Any]
    video: VideoSettings
    progress: dict[str, Any]
    status_since: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the data of a new tenant is stored; None means the platform's own servers.

    ``database_server`` is a URL without credentials. The bucket is named after the tenant.
    """

    scheme: str = "s3"
    database_server: str | None = None
    qdrant_url: str | None = None
