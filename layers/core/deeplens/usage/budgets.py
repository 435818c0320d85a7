"""Monthly budgets of what tenants use: what was reached, who is told, and when uploads pause."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, Protocol

from deeplens.events.notifications import TenantNotification
from deeplens.usage.model import month_after, start_of, unit_of, usage_id

type Action = Literal["warn", "pause"]
USAGE_BUDGET = "usage.budget"
EXHAUSTED_PERCENT = 100


@dataclass(frozen=True, slots=True)
class Budget:
    """What a tenant wants to use of a metric in a month (UTC) at the most.

    Attributes
    ----------
    limit : above 0, in the metric's unit. Of a gauge it is what stands at any time.
    warn_percent : of the limit, each told once per month; the limit itself is told of in any case.
    action : ``pause`` refuses uploads from the limit on until the month ends; searching and reading go on.
    """

    metric: str
    limit: float
    warn_percent: tuple[int, ...] = (80,)
    action: Action = "warn"


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget with what was metered in its month so far."""

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
class Warned:
    """A threshold of a budget that was reached; ``used`` is what was used then."""

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
        """The same whenever it is told: a message that is sent twice is one delivery."""
        return usage_id("budget", self.tenant_id, self.metric, self.month, self.percent, self.reached_at.isoformat())


class Budgets(Protocol):
    """Budgets of all tenants (platform database). Every method raises ``DatabaseUnavailable``."""

    def of_tenant(self, tenant_id: str, month: date) -> list[BudgetState]:
        """By metric."""

    def save(self, tenant_id: str, budgets: Sequence[Budget], month: date) -> None:
        """Replace a tenant's budgets. One whose limit or action changed is told of anew in this month."""

    def evaluate(self, now: datetime, month: date, tenant_id: str | None = None) -> None:
        """Note thresholds that were reached, pause and resume uploads: one query over all tenants, or of one."""

    def untold(self, month: date, limit: int) -> list[Warned]:
        """Thresholds reached in this month that webhooks want to be told of and have not been, the oldest first."""

    def told(self, warned: Sequence[Warned], now: datetime) -> None: ...


def budget_reached(one: Warned) -> TenantNotification:
    """What a webhook is told."""
    ends = start_of(month_after(one.month)).isoformat().replace("+00:00", "Z")
    paused = one.action == "pause" and one.percent == EXHAUSTED_PERCENT
    details = {
        "metric": one.metric,
        "unit": unit_of(one.metric),
        "month": f"{one.month:%Y-%m}",
        "percent": one.percent,
        "used": one.used,
        "limit": one.limit,
        "uploadsPausedUntil": ends if paused else None,
    }
    return TenantNotification(
        event_id=one.event_id,
        tenant_id=one.tenant_id,
        type=USAGE_BUDGET,
        occurred_at=one.reached_at,
        details={name: value for name, value in details.items() if value is not None},
    )
