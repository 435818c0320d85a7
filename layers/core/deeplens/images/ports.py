"""The ports to the images of a tenant and to those in flight."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NewType, Protocol

from deeplens.events.images import ImageUploaded
from deeplens.images.model import ImageQuery, ImageRecord, NewImage, StageResult, TimelineEntry, Tombstone
from deeplens.tenants.limits import UNLIMITED, ResourceLimits, Storage
from deeplens.tenants.model import Tenant

PendingDue = NewType("PendingDue", timedelta)
"""How long an accepted image may be under way before the schedule sends it again."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What is remembered of a pending image: the event that came first, and whether it may be published."""

    event: ImageUploaded
    released: bool


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
