"""every minute → merges that can no longer be undone → deeplens.images.maintenance"""

from datetime import timedelta
from typing import ClassVar

from deeplens.common.ports import Clock
from deeplens.duplicates.merges import settlement_of
from deeplens.duplicates.model import MergeDeadlines
from deeplens.events.maintenance import ImageMaintenance

AGAIN_AFTER = timedelta(minutes=10)
"""A settlement that got lost is asked for again."""


class TickMerges:
    """Have merges settled whose time is up: one query over all tenants, one event each."""

    name: ClassVar = "merges"
    batch_size: ClassVar = 500

    def __init__(self, merge_deadlines: MergeDeadlines, clock: Clock) -> None:
        self._deadlines, self._clock = merge_deadlines, clock

    def __call__(self) -> list[ImageMaintenance]:
        now = self._clock.now()
        late = self._deadlines.overdue(now, now + AGAIN_AFTER, self.batch_size)
        return [settlement_of(tenant_id, merge_id, now) for tenant_id, merge_id in late]
