"""What the pipeline and the APIs need from the world. Every port has one behaviour suite, run on each adapter."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from deeplens.alerts import AlertChannel as AlertChannel
from deeplens.alerts import Alerts as Alerts
from deeplens.auth.principal import Principal
from deeplens.contracts.events import ImageUploaded
from deeplens.dead_letters import DeadLetters as DeadLetters
from deeplens.direct_uploads import ClientUploads as ClientUploads
from deeplens.direct_uploads import DirectUploads as DirectUploads
from deeplens.direct_uploads import ObjectQueue as ObjectQueue
from deeplens.direct_uploads import StoreOwners as StoreOwners
from deeplens.domain import (
    ImageQuery,
    ImageRecord,
    Match,
    ModelProfile,
    ModelRef,
    NewImage,
    Point,
    SearchFilter,
    StageResult,
    Tenant,
    TimelineEntry,
    Tombstone,
)
from deeplens.duplicates import Duplicates as Duplicates
from deeplens.duplicates import MergeDeadlines as MergeDeadlines
from deeplens.limits import UNLIMITED, ResourceLimits, Storage
from deeplens.maintenance import MaintenanceRuns as MaintenanceRuns
from deeplens.maintenance import PointPage
from deeplens.metering import RequestCounters as RequestCounters
from deeplens.metering import UsageMeter as UsageMeter
from deeplens.object_stores import ObjectStore as ObjectStore
from deeplens.object_stores import StoreResolver as StoreResolver
from deeplens.outgoing import Admission, OutgoingMessage, OutgoingRecord
from deeplens.retries import RetryQueue as RetryQueue
from deeplens.rollouts import Rollouts as Rollouts
from deeplens.rollouts import VectorStates as VectorStates
from deeplens.tenant_stores import RegisteredStores as RegisteredStores
from deeplens.tenant_stores import StoreObjects as StoreObjects

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

type Vectors = npt.NDArray[np.float32]


class Clock(Protocol):
    def now(self) -> datetime:
        """The current time, UTC and aware."""


class VectorIndex(Protocol):
    """One collection per tenant and model version. Raises ``IndexUnavailable``.

    Point ids are derived from image ids, so that indexing an image again replaces its point.
    """

    def create_collection(self, tenant: Tenant) -> None:
        """Create the tenant's collection (cosine, its dimensions) with its payload indexes; safe to repeat."""

    def drop_collection(self, tenant: Tenant) -> None: ...

    def upsert(self, tenant: Tenant, points: Sequence[Point]) -> None:
        """Write points and wait until they are searchable. ``ModelMismatch`` when a vector has another length."""

    def delete(self, tenant: Tenant, image_ids: Sequence[str]) -> None:
        """Remove points and wait; missing ones, and a missing collection, are fine."""

    def replace_payload(self, tenant: Tenant, image_id: str, payload: dict[str, Any]) -> None:
        """Overwrite a point's payload and wait; a missing point is fine."""

    def search(
        self,
        tenant: Tenant,
        vector: Sequence[float],
        *,
        limit: int,
        threshold: float | None = None,
        where: SearchFilter = SearchFilter(),
    ) -> list[Match]:
        """Nearest points, best first, scores at least ``threshold``."""

    def neighbours(
        self, tenant: Tenant, wanted: Mapping[str, SearchFilter], *, limit: int, threshold: float
    ) -> dict[str, list[Match]]:
        """Nearest other points of several images, each within its filter, best first, by image id.

        One without a point is absent.

        Two requests, however many images.
        """

    def vector_of(self, tenant: Tenant, image_id: str) -> list[float] | None: ...

    def existing(self, tenant: Tenant, image_ids: Sequence[str]) -> set[str]:
        """Those of ``image_ids`` that have a point."""

    def scroll(self, tenant: Tenant, start: str | None, limit: int) -> PointPage:
        """At most ``limit`` points in the order of their ids, from ``start`` on; a missing collection has none."""

    def delete_points(self, tenant: Tenant, point_ids: Sequence[str]) -> None:
        """Remove points by their own ids and wait; missing ones, and a missing collection, are fine."""

    def count(self, tenant: Tenant) -> int: ...

    def ping(self, url: str) -> None:
        """Raise unless the index at ``url`` answers."""


class Embedder(Protocol):
    def embed(self, images: Sequence[bytes], model: ModelRef) -> Vectors:
        """Embed encoded images.

        Parameters
        ----------
        images : JPEG or PNG files. Batches are split by count and by request bytes.

        Returns
        -------
        Vectors
            float32, shape (len(images), model.dimensions), rows L2-normalised.

        Raises
        ------
        InferenceBusy
            The endpoint shed load; retry after ``error.retry_after_seconds``.
        InferenceUnavailable
        ModelNotFound
        InvalidImage
            The endpoint could not decode one of the images, or has no usable embedding of it; callers split the batch
            to find it. ``FileTooLarge`` when it does not fit a request.
        """

    def embed_text(self, text: str, model: ModelRef) -> Vectors:
        """A text in the space of the model's images, float32, shape (model.dimensions,), L2-normalised.

        Raises
        ------
        TextUnsupported
            The model has no text tower.
        InferenceBusy, InferenceUnavailable, ModelNotFound
        """

    def describe(self, name: str, version: str) -> ModelProfile:
        """What the endpoint says of a model. Raises ``ModelNotFound``, ``InferenceBusy``, ``InferenceUnavailable``."""


class EventPublisher(Protocol):
    def connect(self) -> None:
        """Begin to connect in the background; never fails, and publishing works without it."""

    def ping(self) -> None:
        """Raise unless the broker answers."""

    def publish(self, messages: Sequence[OutgoingMessage]) -> list[bool]:
        """Send and wait for every delivery report; one truth value per message, in order."""

    def resend(self, records: Sequence[OutgoingRecord]) -> list[bool]:
        """The same for records as they were."""


class TenantDirectory(Protocol):
    def get(self, tenant_id: str, *, fresh: bool = False) -> Tenant:
        """The tenant's row, at most 10 s old, or read now. ``TenantNotFound`` when unknown or deleted;
        ``DatabaseUnavailable``.
        """


class ImageRepository(Protocol):
    """Images of one tenant's database. Every method raises ``DatabaseUnavailable``."""

    def insert(self, tenant: Tenant, image: NewImage, limits: ResourceLimits = UNLIMITED) -> ImageRecord | Tombstone:
        """Create the row (generation 1, ACCEPTED) or return what already has this id.

        ``QuotaExceeded`` when a new row would exceed ``max_images`` or ``max_bytes``, however many arrive at once.
        """

    def totals(self, tenant: Tenant) -> Storage:
        """All rows, those of deleted images until they are erased. Costs the same whatever their number."""

    def find(self, tenant: Tenant, image_ids: Sequence[str]) -> dict[str, ImageRecord | Tombstone]:
        """Rows and tombstones by id, in one query; unknown ids are absent."""

    def advance(self, tenant: Tenant, results: Sequence[StageResult]) -> None:
        """Move rows forward where (generation, step) is newer, and add timeline entries once, in one transaction.

        An entry is unique by (image, generation, step, stage); a repeat changes nothing. Deleted images are ignored.
        """

    def page(self, tenant: Tenant, query: ImageQuery) -> list[ImageRecord]:
        """At most ``query.limit`` images, newest first; tombstoned ones never."""

    def after(self, tenant: Tenant, image_id: str, limit: int) -> list[ImageRecord | Tombstone]:
        """At most ``limit`` rows behind ``image_id``, by id; a tombstone in place of a row that is yet to be erased."""

    def with_digests(self, tenant: Tenant, sha256s: Sequence[str]) -> dict[str, ImageRecord]:
        """A live image by the digest of its file, one that did not fail where there are several; others are absent."""

    def timeline(self, tenant: Tenant, image_id: str) -> list[TimelineEntry]:
        """Oldest first."""

    def amend(
        self, tenant: Tenant, image_id: str, *, tags: Sequence[str] | None, metadata: dict[str, Any] | None
    ) -> ImageRecord | None:
        """Replace tags and/or metadata and raise ``revision``; None when there is no live image."""

    def bury(self, tenant: Tenant, image_id: str, at: datetime) -> bool:
        """Write the tombstone (the row stays for the clean-up). False when there never was such an image."""

    def erase(self, tenant: Tenant, receipts: dict[str, dict[str, Any]]) -> None:
        """Remove the rows of tombstoned images, keep receipt per image id on the tombstone; safe to repeat."""

    def purge_tombstones(self, tenant: Tenant, now: datetime, keep: timedelta = timedelta(days=37)) -> int:
        """Drop tombstones, with their receipts, that are older than any retention; returns how many.

        Those of merged images stay: their ids go on answering.
        """


class PendingImages(Protocol):
    """Accepted images that have not ended yet, over all tenants (platform database). Raises ``DatabaseUnavailable``."""

    def admit(self, event: ImageUploaded, due: datetime) -> Admission:
        """Remember an accepted image before anything else is written.

        Released: within the tenant's window, publish now. Otherwise it waits; ``finish`` will release it.
        An image already pending keeps its event, unless that is of an older generation, and its answer.
        """

    def admit_frames(self, tenant_id: str, events: Sequence[ImageUploaded], due: datetime) -> list[ImageUploaded]:
        """The same for frames of one tenant's videos, which have a smaller window within the tenant's, and wait behind
        its other images. Returns the released ones, those of earlier calls included; the same frame is named once.
        """

    def finish(
        self,
        images: Sequence[tuple[str, str]],
        due: datetime,
        generations: Sequence[int] | None = None,
        *,
        still_due: datetime | None = None,
    ) -> list[ImageUploaded]:
        """Forget ended (tenant_id, image_id) pairs; release and return the next waiting images of their tenants.

        ``generations`` are those that ended, in the same order: an image that is pending with a newer one stays so.
        With ``still_due`` only those that are due just then: another admission since has made them its own.
        """

    def postpone(self, images: Sequence[tuple[str, str, datetime]]) -> None:
        """Give (tenant_id, image_id, due) until ``due`` at least: something else will send them before."""

    def count(self, tenant_id: str) -> int:
        """How many images of a tenant are pending, released or waiting."""

    def overdue(self, now: datetime, due: datetime, limit: int) -> list[ImageUploaded]:
        """Released images whose time is up, oldest first; they get a new due time. One query over all tenants."""


class ApiKeys(Protocol):
    def authenticate(self, presented: str) -> Principal | None:
        """The principal of an API key, or None; the key is compared by SHA-256, never stored."""
