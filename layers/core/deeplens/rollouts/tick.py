"""every minute → roll-outs that have not ended → deeplens.images.maintenance"""

from typing import ClassVar

from deeplens.common.ports import Clock
from deeplens.events.maintenance import ImageMaintenance
from deeplens.rollouts.model import Rollout, Rollouts


class TickRollouts:
    """Carry on every roll-out: one query over all tenants, one event each."""

    name: ClassVar = "rollouts"
    batch_size: ClassVar = 500

    def __init__(self, rollouts: Rollouts, clock: Clock) -> None:
        self._rollouts, self._clock = rollouts, clock

    def __call__(self) -> list[ImageMaintenance]:
        now = self._clock.now()
        return [
            rollout_slice(rollout).model_copy(update={"requested_at": now})
            for rollout in self._rollouts.unfinished(self.batch_size)
        ]


def rollout_slice(rollout: Rollout) -> ImageMaintenance:
    """The event that carries a roll-out on."""
    return ImageMaintenance(
        maintenance_type="rollout",
        tenant_id=rollout.tenant_id,
        subject="tenant",
        job=rollout.id,
        requested_at=rollout.created_at,
    )
