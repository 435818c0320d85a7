"""every minute → rollouts that have not ended → deeplens.images.maintenance"""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from deeplens.common.ports import Clock
from deeplens.events.maintenance import ImageMaintenance
from deeplens.rollouts.model import Rollout, Rollouts


@dataclass(frozen=True)
class TickRollouts:
    """Continue every rollout: one query over all tenants, one event each."""

    name: ClassVar = "rollouts"
    batch_size: ClassVar = 500

    rollouts: Rollouts
    clock: Clock

    def __call__(self) -> list[ImageMaintenance]:
        now = self.clock.now()
        return [rollout_slice(rollout, now) for rollout in self.rollouts.unfinished(self.batch_size)]


def rollout_slice(rollout: Rollout, now: datetime) -> ImageMaintenance:
    """The event of a rollout's next slice."""
    return ImageMaintenance(
        maintenance_type="rollout", tenant_id=rollout.tenant_id, subject="tenant", job=rollout.id, requested_at=now
    )
