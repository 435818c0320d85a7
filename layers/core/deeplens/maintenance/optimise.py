"""Maintenance ``storage-optimisation``: deletes derived files that are not needed and can be created again."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from deeplens.common.ports import Clock
from deeplens.images.keys import PROCESSED, THUMBNAIL_PREFIXES, image_of
from deeplens.images.model import ImageRecord, Step
from deeplens.images.ports import ImageRepository
from deeplens.maintenance.model import Finding, Kind, MaintenanceRun, ThumbnailRetention, report_of
from deeplens.maintenance.slices import Page
from deeplens.maintenance.sweep import ROWS_AT_ONCE, dropped_before, entries_of, may_lack_thumbnails
from deeplens.storage.ports import ObjectInfo, StoreResolver
from deeplens.tenants.model import Tenant


@dataclass(frozen=True)
class OptimiseStorage:
    """Delete derived files of failed images, and thumbnails older than the retention.

    A retry creates the former again from the original, a request for a thumbnail the latter. Standard JPEGs of
    completed images stay, since a change of model embeds them. Without ``thumbnails_kept`` all thumbnails stay.
    """

    stores: StoreResolver
    images: ImageRepository
    thumbnails_kept: ThumbnailRetention | None
    clock: Clock

    def pages(self, tenant: Tenant, run: MaintenanceRun, before: datetime) -> Iterator[Page]:
        store, after = self.stores.for_tenant(tenant), run.cursor
        until = dropped_before(self.thumbnails_kept, self.clock.now(), before)
        while rows := self.images.after(tenant, after, ROWS_AT_ONCE):
            images = {row.id: row for row in rows if isinstance(row, ImageRecord)}
            unneeded = [
                (entry, Finding(kind, entry.key))
                for entry in entries_of(store, rows, (PROCESSED, *THUMBNAIL_PREFIXES))
                if (kind := judge_derived(entry, images.get(image_of(entry.key) or ""), before, until))
            ]
            if not run.dry_run:
                store.delete(entry.key for entry, _ in unneeded)
            freed = sum(entry.size_bytes for entry, _ in unneeded)
            after = rows[-1].id
            findings = [finding for _, finding in unneeded]
            yield Page(after, report_of("rows", len(rows), findings, repaired=not run.dry_run, freed=freed))


def judge_derived(entry: ObjectInfo, row: ImageRecord | None, before: datetime, until: datetime | None) -> Kind | None:
    """The reason to delete a derived file; None if it is needed.

    Parameters
    ----------
    before : images that failed later are ignored, since a stage may still work on them.
    until : thumbnails from before then, of images that completed before then, are deleted.
    """
    if row is None:
        return None
    if row.step is Step.FAILED and row.updated_at < before:
        return "derived-of-failed"
    if until is None or entry.modified_at >= until or not may_lack_thumbnails(row, until):
        return None
    return "thumbnail-not-needed" if entry.key.startswith(THUMBNAIL_PREFIXES) else None
