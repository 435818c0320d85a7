"""The nouns of DeepLens, free of any vendor: tenants, images, models, matches."""

from dataclasses import dataclass, field, replace
from typing import Literal

from deeplens.embedding.model import ModelRef, Thresholds, collection_name
from deeplens.tenants.duplicate_policy import REPORT, DuplicatePolicy
from deeplens.tenants.limits import UNLIMITED, ResourceLimits
from deeplens.tenants.pause import IngestionPause
from deeplens.tenants.video_settings import DEFAULT_SETTINGS, VideoSettings

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

    def effective_limits(self, defaults: ResourceLimits) -> ResourceLimits:
        """The tenant's own limits, completed by the platform's defaults; None is unlimited."""
        return self.limits.over(defaults)
