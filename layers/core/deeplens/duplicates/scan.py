"""Maintenance ``duplicate-scan``: compares every image of a tenant with all others."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime

from deeplens.common.resolve import Lazy
from deeplens.common.stage import in_parallel
from deeplens.duplicates.detect import FindPairs, found_events, is_searchable
from deeplens.duplicates.model import Duplicates
from deeplens.errors import PipelineError
from deeplens.images.keys import thumbnail_key
from deeplens.images.model import ImageRecord
from deeplens.images.ports import ImageRepository
from deeplens.imaging.decoder import ImageDecoder
from deeplens.maintenance.model import MaintenanceRun, Report
from deeplens.maintenance.slices import Page
from deeplens.storage.ports import StoreResolver
from deeplens.tenants.model import Tenant

IMAGES_AT_ONCE = 100


@dataclass(frozen=True)
class ScanDuplicates:
    """Compute missing pHashes from the small thumbnails, find pairs and keep them, page by page in the order of ids.

    Recorded pairs are not published again, and decisions stay. A dry run stores nothing.
    """

    stores: StoreResolver
    images: ImageRepository
    duplicates: Duplicates
    find_pairs: FindPairs
    workers: Executor
    decoder: Lazy[ImageDecoder]

    # ``before`` is ignored: a scan removes nothing, so no image is too young for it.
    def pages(self, tenant: Tenant, run: MaintenanceRun, before: datetime) -> Iterator[Page]:  # noqa: ARG002
        after = run.cursor
        if not after:
            # The total that the progress is computed from.
            yield Page("img_", Report({"expected": self.images.totals(tenant).images}))
        while rows := self.images.after(tenant, after, IMAGES_AT_ONCE):
            searchable = [row for row in rows if is_searchable(row)]
            made = 0 if run.dry_run else self._make_hashes(tenant, searchable)
            pairs = self.find_pairs(tenant, searchable)
            notices = () if run.dry_run else tuple(found_events(tenant, self.duplicates.save(tenant, pairs)))
            found = Counter[str](pair.verdict or "" for pair in pairs)
            after = rows[-1].id
            yield Page(after, Report({"images": len(rows), "hashes-made": made}, dict(found)), notices=notices)

    def _make_hashes(self, tenant: Tenant, rows: Sequence[ImageRecord]) -> int:
        known = self.duplicates.hashes(tenant, [row.id for row in rows])
        lacking = [row.id for row in rows if row.id not in known]
        if not lacking:
            return 0
        # Starts a process, so only if there is an image to decode.
        decoder, store = self.decoder(), self.stores.for_tenant(tenant)

        def perceptual_hash(image_id: str) -> int | None:
            try:
                return decoder.perceptual_hash(store.get(thumbnail_key(image_id, "small")))
            except PipelineError:
                # Without its thumbnail an image is compared by its bytes only; a sweep has the thumbnail created again.
                return None

        made = dict(zip(lacking, in_parallel(self.workers, perceptual_hash, lacking), strict=True))
        hashes = {image_id: value for image_id, value in made.items() if value is not None}
        self.duplicates.keep_hashes(tenant, hashes)
        return len(hashes)
