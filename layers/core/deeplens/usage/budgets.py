"""Monthly budgets of tenants: thresholds, notifications, and when uploads pause."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, Protocol

from deeplens.common.effects import effects
from deeplens.events.notifications import TenantNotification
from deeplens.usage.model import month_after, start_of, unit_of, usage_id

Action = Literal["warn", "pause"]
USAGE_BUDGET = "usage.budget"
EXHAUSTED_PERCENT = 100


@dataclass(frozen=True, slots=True)
class Budget:
    """A tenant's limit of one metric in a month (UTC).

    Attributes
    ----------
    limit : above 0, in the metric's unit; for a gauge, the maximum at any time.
    warn_percent : shares of the limit, each notified once per month, as is the limit itself.
    action : ``pause`` refuses uploads from the limit on until the month ends; searching and reading continue.
    """

    metric: str
    limit: float
    warn_percent: tuple[int, ...] = (80,)
    action: Action = "warn"


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget and the usage that was metered in its month."""

    budget: Budget
    month: date
    used: float

    @property
    def exhausted(self) -> bool:
        return self.used >= self.budget.limit

    @property
    def percent(self) -> float:
        return round(100 * self.used / self.budget.limit, 1)


@dataclass(frozen=True, slots=True)
class BudgetWarning:
    """A threshold of a budget that was reached; ``used`` is the usage at that time."""

    tenant_id: str
    metric: str
    month: date
    percent: int
    reached_at: datetime
    used: float
    limit: float
    action: Action

    @property
    def event_id(self) -> str:
        """The same id for each attempt: a notification that is sent twice is one delivery."""
        return usage_id("budget", self.tenant_id, self.metric, self.month, self.percent, self.reached_at.isoformat())


@effects("save", "evaluate", "mark_notified")
class Budgets(Protocol):
    """Budgets of all tenants (platform database). Every method raises ``DatabaseUnavailable``."""

    def of_tenant(self, tenant_id: str, month: date) -> list[BudgetState]:
        """The tenant's budgets, sorted by metric."""

    def save(self, tenant_id: str, budgets: Sequence[Budget], month: date) -> None:
        """Replace a tenant's budgets. Those whose limit or action changed are notified again in this month."""

    def evaluate(self, now: datetime, month: date, tenant_id: str | None = None) -> None:
        """Record reached thresholds, pause and resume uploads: one query for all tenants, or for one."""

    def unnotified(self, month: date, limit: int) -> list[BudgetWarning]:
        """Thresholds of this month that webhooks subscribe to and were not notified of, the oldest first."""

    def mark_notified(self, warnings: Sequence[BudgetWarning], now: datetime) -> None: ...


def budget_reached(warning: BudgetWarning) -> TenantNotification:
    """The notification for webhooks."""
    ends = start_of(month_after(warning.month)).isoformat().replace("+00:00", "Z")
    paused = warning.action == "pause" and warning.percent == EXHAUSTED_PERCENT
    details = {
        "metric": warning.metric,
        "unit": unit_of(warning.metric),
        "month": f"{warning.month:%Y-%m}",
        "percent": warning.percent,
        "used": warning.used,
        "limit": warning.limit,
        "uploadsPausedUntil": ends if paused else None,
    }
    return TenantNotification(
        event_id=warning.event_id,
        tenant_id=warning.tenant_id,
        type=USAGE_BUDGET,
        occurred_at=warning.reached_at,
        details={name: value for name, value in details.items() if value is not None},
    )
