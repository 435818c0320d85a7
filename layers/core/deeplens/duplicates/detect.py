"""deeplens.processing.completed → pairs of duplicates, with their evidence → deeplens.duplicates.found"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from deeplens.common.batch import followed_by, merge
from deeplens.common.stage import Done, Outcome
from deeplens.duplicates.find import FindPairs, found_events
from deeplens.duplicates.model import Duplicates
from deeplens.events.images import ProcessingCompleted
from deeplens.images.current import split_current
from deeplens.images.ports import ImageRepository
from deeplens.tenants.batch import by_tenant
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory


@dataclass(frozen=True)
class DetectDuplicates:
    """Find copies and near-duplicates of images that have become searchable, within their tenant.

    Consumes ``ProcessingCompleted``, emits a ``DuplicatesFound`` per unordered pair, with the same id whichever image
    finds the other. A repeat emits it again until it is recorded; pairs decided to be no duplicates are left alone.
    """

    name: ClassVar = "detect"
    consumes: ClassVar = ProcessingCompleted

    tenants: TenantDirectory
    images: ImageRepository
    duplicates: Duplicates
    find_pairs: FindPairs

    def __call__(self, batch: Sequence[ProcessingCompleted]) -> list[Outcome]:
        return by_tenant(batch, self.tenants, self._detect_tenant)

    def _detect_tenant(self, tenant: Tenant, batch: Sequence[ProcessingCompleted]) -> list[Outcome]:
        work, ended = split_current(batch, self.images.find(tenant, [event.image_id for event in batch]))
        pairs = self.duplicates.save(tenant, self.find_pairs(tenant, [row for _, row in work]))
        outcomes = merge(len(batch), ended, [Done()] * len(work))
        return followed_by(outcomes, list(found_events(tenant, pairs)))
