"""every minute → budgets that were reached → deeplens.tenant.notifications"""

from collections.abc import Sequence
from typing import ClassVar

from deeplens.common.ports import Clock
from deeplens.events.notifications import TenantNotification
from deeplens.usage.budgets import Budgets, Warned, budget_reached
from deeplens.usage.model import month_of


class TickBudgets:
    """Hold what was metered against the budgets, pause and resume uploads, and tell webhooks once per threshold."""

    name: ClassVar = "budgets"
    told_at_once: ClassVar = 500

    def __init__(self, budgets: Budgets, clock: Clock) -> None:
        self._budgets, self._clock = budgets, clock
        self._telling: list[Warned] = []

    def __call__(self) -> list[TenantNotification]:
        now = self._clock.now()
        month = month_of(now)
        self._budgets.evaluate(now, month)
        self._telling = self._budgets.untold(month, self.told_at_once)
        return [budget_reached(one) for one in self._telling]

    def delivered(self, events: Sequence[TenantNotification]) -> None:
        """A crash before this tells once more, under the same id: webhooks get one delivery."""
        ids = {event.event_id for event in events}
        self._budgets.told([one for one in self._telling if one.event_id in ids], self._clock.now())
