"""every minute → budgets that were reached → deeplens.tenant.notifications"""

from collections.abc import Sequence
from typing import ClassVar

from deeplens.common.ports import Clock
from deeplens.events.notifications import TenantNotification
from deeplens.usage.budgets import Budgets, BudgetWarning, budget_reached
from deeplens.usage.model import month_of


class TickBudgets:
    """Compare usage with budgets, pause and resume uploads, and notify webhooks once per threshold."""

    name: ClassVar = "budgets"
    notified_at_once: ClassVar = 500

    def __init__(self, budgets: Budgets, clock: Clock) -> None:
        self._budgets, self._clock = budgets, clock
        self._sending: list[BudgetWarning] = []

    def __call__(self) -> list[TenantNotification]:
        now = self._clock.now()
        month = month_of(now)
        self._budgets.evaluate(now, month)
        self._sending = self._budgets.unnotified(month, self.notified_at_once)
        return [budget_reached(warning) for warning in self._sending]

    def delivered(self, events: Sequence[TenantNotification]) -> None:
        """Mark the delivered notifications. A crash before this repeats them with the same ids, which webhooks drop."""
        ids = {event.event_id for event in events}
        self._budgets.mark_notified(
            [warning for warning in self._sending if warning.event_id in ids], self._clock.now()
        )
