"""every minute → merges that can no longer be undone → deeplens.images.maintenance"""

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from deeplens.common.ports import Clock
from deeplens.duplicates.merge import settlement_of
from deeplens.duplicates.model import MergeDeadlines
from deeplens.events.maintenance import ImageMaintenance

AGAIN_AFTER = timedelta(minutes=10)
"""A settlement that got lost is asked for again."""


@dataclass(frozen=True)
class TickMerges:
    """Have merges settled whose time is up: one query over all tenants, one event each."""

    name: ClassVar = "merges"
    batch_size: ClassVar = 500

    merge_deadlines: MergeDeadlines
    clock: Clock

    def __call__(self) -> list[ImageMaintenance]:
        now = self.clock.now()
        late = self.merge_deadlines.overdue(now, now + AGAIN_AFTER, self.batch_size)
        return [settlement_of(tenant_id, merge_id, now) for tenant_id, merge_id in late]
