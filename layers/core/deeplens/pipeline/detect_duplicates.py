"""deeplens.processing.completed → pairs of duplicates, with their evidence → deeplens.duplicates.found"""

from collections.abc import Sequence
from typing import ClassVar

from deeplens.contracts.events import ProcessingCompleted
from deeplens.domain import Tenant
from deeplens.pipeline.batch import by_tenant, followed_by, merge, split_current
from deeplens.pipeline.find_pairs import FindPairs, found_events
from deeplens.pipeline.outcome import Done, Outcome
from deeplens.ports import Clock, Duplicates, ImageRepository, TenantDirectory, VectorIndex


class DetectDuplicates:
    """Find copies and near-duplicates of images that have become searchable, within their tenant.

    Consumes ``ProcessingCompleted``, emits a ``DuplicatesFound`` per unordered pair, with one id whichever image finds
    the other. A repeat emits it again until it was recorded; pairs decided to be no duplicates are left alone.
    """

    name: ClassVar = "detect"
    consumes: ClassVar = ProcessingCompleted

    def __init__(
        self,
        tenants: TenantDirectory,
        images: ImageRepository,
        index: VectorIndex,
        duplicates: Duplicates,
        clock: Clock,
    ) -> None:
        self._tenants, self._images, self._duplicates = tenants, images, duplicates
        self._find = FindPairs(images, index, duplicates, clock)

    def __call__(self, batch: Sequence[ProcessingCompleted]) -> list[Outcome]:
        return by_tenant(batch, self._tenants, self._detect_tenant)

    def _detect_tenant(self, tenant: Tenant, batch: Sequence[ProcessingCompleted]) -> list[Outcome]:
        work, ended = split_current(batch, self._images.find(tenant, [event.image_id for event in batch]))
        pairs = self._duplicates.save(tenant, self._find(tenant, [row for _, row in work]))
        outcomes = merge(len(batch), ended, [Done() for _ in work])
        return followed_by(outcomes, list(found_events(tenant, pairs)))
