"""Maintenance ``storage-optimisation``: deletes derived files that are not needed and can be created again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from deeplens.common.ports import Clock
from deeplens.images.keys import PROCESSED, THUMBNAIL_PREFIXES, image_of
from deeplens.images.model import ImageRecord, Step
from deeplens.images.ports import ImageRepository
from deeplens.maintenance.model import Finding, MaintenanceRun, ThumbnailRetention, report_of
from deeplens.maintenance.slices import Page
from deeplens.maintenance.sweep_rows import ROWS_AT_ONCE, Row, dropped_before, entries_of, may_lack_thumbnails
from deeplens.storage.ports import ObjectInfo, StoreResolver
from deeplens.tenants.model import Tenant

type Found = list[tuple[ObjectInfo, Finding]]


@dataclass(frozen=True)
class OptimiseStorage:
    """Delete derived files of failed images, and thumbnails older than the retention.

    A retry creates the former again from the original, a request for a thumbnail the latter. Standard JPEGs of
    completed images stay, since a change of model embeds them.

    Parameters
    ----------
    thumbnails_kept : age of the file from which on a thumbnail is deleted; None keeps all.
    """

    stores: StoreResolver
    images: ImageRepository
    thumbnails_kept: ThumbnailRetention | None
    clock: Clock

    def pages(self, tenant: Tenant, run: MaintenanceRun, before: datetime) -> Iterator[Page]:
        store, after = self.stores.for_tenant(tenant), run.cursor
        until = dropped_before(self.thumbnails_kept, self.clock.now(), before)
        while rows := self.images.after(tenant, after, ROWS_AT_ONCE):
            prefixes = (PROCESSED, *THUMBNAIL_PREFIXES)
            found = needless(rows, list(entries_of(store, rows, prefixes)), before, until)
            if not run.dry_run:
                store.delete(entry.key for entry, _ in found)
            freed = sum(entry.size_bytes for entry, _ in found)
            after = rows[-1].id
            findings = [finding for _, finding in found]
            yield Page(after, report_of("rows", len(rows), findings, repaired=not run.dry_run, freed=freed))


def needless(rows: Sequence[Row], entries: Sequence[ObjectInfo], before: datetime, until: datetime | None) -> Found:
    """Derived files to delete, with the reason.

    Parameters
    ----------
    before : younger images and files are left alone.
    until : thumbnails from before then, of images that completed before then, are deleted.
    """
    images = {row.id: row for row in rows if isinstance(row, ImageRecord)}
    found: Found = []
    for entry in entries:
        row = images.get(image_of(entry.key) or "")
        if row is not None and has_ended(row, before):
            found.append((entry, Finding("derived-of-failed", entry.key)))
        elif row is not None and until is not None and is_aged_thumbnail(row, entry, until):
            found.append((entry, Finding("thumbnail-not-needed", entry.key)))
    return found


def has_ended(row: ImageRecord, before: datetime) -> bool:
    """Whether an image failed so long ago that no stage works on it any more."""
    return row.step is Step.FAILED and row.updated_at < before


def is_aged_thumbnail(row: ImageRecord, entry: ObjectInfo, until: datetime) -> bool:
    aged = may_lack_thumbnails(row, until) and entry.modified_at < until
    return aged and entry.key.startswith(THUMBNAIL_PREFIXES)
