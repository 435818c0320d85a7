"""every minute → gauges of a new day, storage to measure → deeplens.images.maintenance"""

from collections.abc import Sequence
from datetime import UTC
from typing import ClassVar

from deeplens.common.ports import Clock
from deeplens.events.maintenance import ImageMaintenance
from deeplens.usage.measure import MEASURE_STORAGE
from deeplens.usage.model import IDS_KEPT, StorageInterval, UsageMeter


class TickUsage:
    """Carry gauges into a new day, request measurements of the storage of changed tenants, and delete expired ids.

    It runs a few statements over all tenants, and emits one event for each tenant that changed.

    Parameters
    ----------
    measured_every : minimum time between two measurements of a tenant.
    """

    name: ClassVar = "usage"
    measured_at_once: ClassVar = 500
    forgotten_at_once: ClassVar = 20_000

    def __init__(self, usage: UsageMeter, measured_every: StorageInterval, clock: Clock) -> None:
        self._usage, self._every, self._clock = usage, measured_every, clock

    def __call__(self) -> list[ImageMaintenance]:
        now = self._clock.now()
        self._usage.carry_gauges(now.astimezone(UTC).date())
        self._usage.forget(now - IDS_KEPT, self.forgotten_at_once)
        return [
            ImageMaintenance(tenant_id=tenant_id, subject="tenant", maintenance_type=MEASURE_STORAGE, requested_at=now)
            for tenant_id in self._usage.due_for_measurement(now, self._every, self.measured_at_once)
        ]

    def delivered(self, events: Sequence[ImageMaintenance]) -> None:
        self._usage.mark_measured([event.tenant_id for event in events], self._clock.now())
