"""Maintenance ``duplicate-scan``: every image of a tenant compared with all others, once more."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from datetime import datetime

from deeplens.common.batch import in_parallel
from deeplens.common.ports import Clock
from deeplens.duplicates.find import FindPairs, found_events, is_searchable
from deeplens.duplicates.model import Duplicates
from deeplens.errors import PipelineError
from deeplens.images.keys import thumbnail_key
from deeplens.images.model import ImageRecord
from deeplens.images.ports import ImageRepository
from deeplens.maintenance.model import MaintenanceRun, Report
from deeplens.maintenance.slices import Page
from deeplens.storage.ports import StoreResolver
from deeplens.tenants.model import Tenant
from deeplens.vectors.ports import VectorIndex

IMAGES_AT_ONCE = 100


class ScanDuplicates:
    """Images by id, a page at a time: missing pHashes are made from the small thumbnails, pairs found and kept.

    What was recorded before is not told again, and what was decided stays. A dry run stores nothing.
    """

    def __init__(
        self,
        stores: StoreResolver,
        images: ImageRepository,
        index: VectorIndex,
        duplicates: Duplicates,
        workers: Executor,
        clock: Clock,
    ) -> None:
        self._stores, self._images, self._duplicates, self._workers = stores, images, duplicates, workers
        self._find = FindPairs(images, index, duplicates, clock)

    # Nothing is too young to be compared: a scan removes nothing.
    def pages(self, tenant: Tenant, run: MaintenanceRun, before: datetime) -> Iterator[Page]:  # noqa: ARG002
        after = run.cursor
        if not after:
            # What the progress is a share of.
            yield Page("img_", Report({"expected": self._images.totals(tenant).images}))
        while rows := self._images.after(tenant, after, IMAGES_AT_ONCE):
            searchable = [row for row in rows if isinstance(row, ImageRecord) and is_searchable(row)]
            made = 0 if run.dry_run else self._make_hashes(tenant, searchable)
            pairs = self._find(tenant, searchable)
            told = () if run.dry_run else tuple(found_events(tenant, self._duplicates.save(tenant, pairs)))
            found = Counter[str](pair.verdict or "" for pair in pairs)
            last = rows[-1]
            after = last.id if isinstance(last, ImageRecord) else last.image_id
            yield Page(after, Report({"images": len(rows), "hashes-made": made}, dict(found)), told=told)

    def _make_hashes(self, tenant: Tenant, rows: Sequence[ImageRecord]) -> int:
        known = self._duplicates.hashes(tenant, [row.id for row in rows])
        lacking = [row.id for row in rows if row.id not in known]
        if not lacking:
            return 0
        # Decodes images: only where there is one to decode.
        from deeplens.imaging.perceptual_hash import perceptual_hash_of

        store = self._stores.for_tenant(tenant)

        def one(image_id: str) -> int | None:
            try:
                return perceptual_hash_of(store.get(thumbnail_key(image_id, "small")))
            except (PipelineError, OSError):
                # Without its thumbnail an image is compared by its bytes only; a sweep has it made again.
                return None

        made = dict(zip(lacking, in_parallel(self._workers, one, lacking), strict=True))
        hashes = {image_id: value for image_id, value in made.items() if value is not None}
        self._duplicates.keep_hashes(tenant, hashes)
        return len(hashes)
