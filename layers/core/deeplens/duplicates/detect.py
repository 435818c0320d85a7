"""deeplens.processing.completed → pairs of duplicates, with their evidence → deeplens.duplicates.found"""

from collections.abc import Sequence
from typing import ClassVar

from deeplens.common.batch import followed_by, merge
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Outcome
from deeplens.duplicates.find import FindPairs, found_events
from deeplens.duplicates.model import Duplicates
from deeplens.events.images import ProcessingCompleted
from deeplens.images.current import split_current
from deeplens.images.ports import ImageRepository
from deeplens.tenants.batch import by_tenant
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory
from deeplens.vectors.ports import VectorIndex


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
