"""Maintenance ``storage-optimisation``: files removed that nobody needs and that can be made again."""

from collections.abc import Iterator
from datetime import datetime

from deeplens.domain import ImageRecord, ObjectInfo, Step, Tenant
from deeplens.errors import ObjectNotFound
from deeplens.maintenance import Finding, MaintenanceRun, report_of
from deeplens.pipeline.keys import derived_keys
from deeplens.pipeline.run_slices import Page
from deeplens.pipeline.sweep_rows import ROWS_AT_ONCE, id_of
from deeplens.ports import ImageRepository, ObjectStore, StoreResolver


class OptimiseStorage:
    """Drop what was made of images that failed: a retry makes it again from the original, as does a thumbnail's reader.

    Derived files of completed images stay: a change of model embeds the standard JPEG, and searches show thumbnails.
    """

    def __init__(self, stores: StoreResolver, images: ImageRepository) -> None:
        self._stores, self._images = stores, images

    def pages(self, tenant: Tenant, run: MaintenanceRun, before: datetime) -> Iterator[Page]:
        store, after = self._stores.for_tenant(tenant), run.cursor
        while rows := self._images.after(tenant, after, ROWS_AT_ONCE):
            given_up = [row.id for row in rows if isinstance(row, ImageRecord) and has_ended(row, before)]
            files = [entry for image_id in given_up for entry in derived_files(store, image_id)]
            if not run.dry_run:
                store.delete(entry.key for entry in files)
            findings = [Finding("derived-of-failed", entry.key) for entry in files]
            freed = sum(entry.size_bytes for entry in files)
            after = id_of(rows[-1])
            yield Page(after, report_of("rows", len(rows), findings, repaired=not run.dry_run, freed=freed))


def has_ended(row: ImageRecord, before: datetime) -> bool:
    """Whether an image failed so long ago that nobody works on it any more."""
    return row.step is Step.FAILED and row.updated_at < before


def derived_files(store: ObjectStore, image_id: str) -> Iterator[ObjectInfo]:
    for key in derived_keys(image_id):
        try:
            yield store.head(key)
        except ObjectNotFound:
            continue
