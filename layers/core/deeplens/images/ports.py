"""The ports to the images of a tenant and to those in flight."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NewType, Protocol

from deeplens.events.images import ImageUploaded
from deeplens.images.model import (
    ImageRecord,
    LoggedEvent,
    LogPosition,
    LogQuery,
    MediaQuery,
    NewImage,
    StageResult,
    TimelineEntry,
    Tombstone,
)
from deeplens.tenants.limits import UNLIMITED, ResourceLimits, Storage
from deeplens.tenants.model import Tenant

PendingDue = NewType("PendingDue", timedelta)
"""Time after which the schedule publishes a pending image again."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A pending image: the event that was admitted first, and whether it may be published."""

    event: ImageUploaded
    released: bool


class ImageRepository(Protocol):
    """Images of one tenant's database. Every method raises ``DatabaseUnavailable``."""

    def insert(self, tenant: Tenant, image: NewImage, limits: ResourceLimits = UNLIMITED) -> ImageRecord | Tombstone:
        """Create the row (generation 1, ACCEPTED) or return what already has this id.

        ``QuotaExceeded`` when a new row would exceed ``max_images`` or ``max_bytes``, however many arrive at once.
        """

    def totals(self, tenant: Tenant) -> Storage:
        """The totals of all rows, including deleted images until their rows are deleted. Takes constant time."""

    def find(self, tenant: Tenant, image_ids: Sequence[str]) -> dict[str, ImageRecord | Tombstone]:
        """Rows and tombstones by id, in one query; unknown ids are absent."""

    def advance(self, tenant: Tenant, results: Sequence[StageResult]) -> None:
        """Move rows forward where (generation, step) is newer, and add timeline entries once, in one transaction.

        An entry is unique by (image, generation, step, stage); a repeat changes nothing. Deleted images are ignored.
        """

    def start(self, tenant: Tenant, image_id: str) -> int:
        """Count an attempt to decode an image; returns how many have not ended."""

    def stop(self, tenant: Tenant, image_id: str) -> None:
        """Note that the attempt ended, with or without success."""

    def page(self, tenant: Tenant, query: MediaQuery) -> list[ImageRecord]:
        """At most ``query.limit`` images, newest first, without deleted ones."""

    def after(self, tenant: Tenant, image_id: str, limit: int) -> list[ImageRecord | Tombstone]:
        """At most ``limit`` rows after ``image_id``, by id; a tombstone in place of a row that is not deleted yet."""

    def with_digests(self, tenant: Tenant, sha256s: Sequence[str]) -> dict[str, ImageRecord]:
        """A live image for each digest of a file, preferably one that did not fail; unknown digests are absent."""

    def timeline(self, tenant: Tenant, image_id: str) -> list[TimelineEntry]:
        """Oldest first."""

    def amend(
        self, tenant: Tenant, image_id: str, *, tags: Sequence[str] | None, metadata: dict[str, Any] | None
    ) -> ImageRecord | None:
        """Replace tags and/or metadata and raise ``revision``; None when there is no live image."""

    def mark_deleted(self, tenant: Tenant, image_id: str, at: datetime) -> bool:
        """Write the tombstone; the row stays until ``delete_rows``. False when there never was such an image."""

    def delete_rows(self, tenant: Tenant, receipts: dict[str, dict[str, Any]]) -> None:
        """Delete the rows of images with tombstones, and store each receipt on its tombstone; safe to repeat."""

    def purge_tombstones(self, tenant: Tenant, now: datetime, keep: timedelta = timedelta(days=37)) -> int:
        """Delete tombstones, with their receipts, that are older than any retention; returns how many.

        Tombstones of merged images stay: their ids redirect.
        """


class PendingImages(Protocol):
    """Accepted images that are not completed or failed yet, of all tenants. Raises ``DatabaseUnavailable``."""

    def admit(self, event: ImageUploaded, due: datetime) -> Admission:
        """Store an accepted image before anything else is written.

        A released image is within the tenant's window: publish it now. Others wait until ``finish`` releases them.
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
        """Remove ended (tenant_id, image_id) pairs; release and return the next waiting images of their tenants.

        ``generations`` ended, in the same order: an image that is pending with a newer generation stays.
        ``still_due`` limits this to images with that due time: a later admission has changed it.
        """

    def postpone(self, images: Sequence[tuple[str, str, datetime]]) -> None:
        """Move the due time of (tenant_id, image_id, due) to at least ``due``: a retry publishes them before."""

    def count(self, tenant_id: str) -> int:
        """How many images of a tenant are pending, released or waiting."""

    def overdue(self, now: datetime, due: datetime, limit: int) -> list[ImageUploaded]:
        """Released images that are overdue, oldest first; they get a new due time. One query over all tenants."""


class EventLog(Protocol):
    """Timeline entries of one tenant, in an order that never changes. Raises ``DatabaseUnavailable``."""

    def settled(self, tenant: Tenant) -> LogPosition:
        """Everything at or before this position is final: no line will still appear before it."""

    def page(self, tenant: Tenant, query: LogQuery) -> list[LoggedEvent]:
        """At most ``query.limit`` entries, without those of deleted images.

        With ``after`` only what is settled: a reader that continues from the last entry misses none.
        """
