"""Reading and setting what a tenant may use, and reading what it used."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby

from deeplens.common.ports import Clock
from deeplens.http.fields import validation_error
from deeplens.images.ports import ImageRepository
from deeplens.tenants.limits import MaxUploadBytes, ResourceLimits, largest_file
from deeplens.tenants.model import Tenant
from deeplens.usage.model import Budget, Budgets, BudgetState, UsageMeter, month_after, month_of, start_of, unit_of
from deeplens.usage.schemas import BudgetList, BudgetView, DayQuantity, EffectiveLimits, Usage, UsageQuery

DEFAULT_DAYS, MAX_DAYS = 30, 366


@dataclass(frozen=True, slots=True)
class TenantBudgets:
    """A tenant's budgets with what it has used of them this month."""

    budgets: Budgets
    clock: Clock

    def read(self, tenant_id: str) -> BudgetList:
        month = month_of(self.clock.now())
        states = self.budgets.of_tenant(tenant_id, month)
        paused = any(state.exhausted and state.budget.action == "pause" for state in states)
        return BudgetList(
            budgets=[_budget(state) for state in states],
            uploads_paused_until=start_of(month_after(month)) if paused else None,
        )

    def replace(self, tenant_id: str, budgets: Sequence[Budget]) -> None:
        """Save the budgets, and pause or resume the tenant's uploads accordingly."""
        now = self.clock.now()
        self.budgets.save(tenant_id, budgets, month_of(now))
        self.budgets.evaluate(now, month_of(now), tenant_id)


@dataclass(frozen=True, slots=True)
class ReadUsage:
    """Read a tenant's limits, storage, daily usage and budgets."""

    images: ImageRepository
    usage: UsageMeter
    budgets: TenantBudgets
    max_upload_bytes: MaxUploadBytes
    clock: Clock

    def __call__(self, tenant: Tenant, limits: ResourceLimits, requests: int, query: UsageQuery) -> Usage:
        """Read the usage; ``requests`` is the number of the tenant's requests in this minute."""
        first, last = days_of(query, self.clock.now())
        stored = self.images.totals(tenant)
        days = groupby(self.usage.days(tenant.id, first, last), lambda total: total.metric)
        largest = largest_file(limits, self.max_upload_bytes)
        return Usage(
            limits=EffectiveLimits.model_validate({**asdict(limits), "max_file_bytes": largest}),
            images=stored.images,
            bytes=stored.bytes,
            requests_this_minute=requests,
            first=first,
            last=last,
            daily={name: [DayQuantity(day=total.day, quantity=total.quantity) for total in of] for name, of in days},
            **dict(self.budgets.read(tenant.id)),
        )


def days_of(query: UsageQuery, now: datetime) -> tuple[date, date]:
    """The requested days (UTC), both included. Raises ``ApiError`` 422 for too many."""
    today = now.astimezone(UTC).date()
    last = query.last or max(today, query.first or today)
    first = query.first or last - timedelta(days=DEFAULT_DAYS - 1)
    if first > last:
        raise validation_error("query", ("from",), "is after to")
    if (last - first).days >= MAX_DAYS:
        raise validation_error("query", ("from",), f"at most {MAX_DAYS} days, both included")
    return first, last


def _budget(state: BudgetState) -> BudgetView:
    computed = {"month": f"{state.month:%Y-%m}", "unit": unit_of(state.budget.metric), "percent": state.percent}
    return BudgetView.model_validate({**asdict(state.budget), **computed, "used": state.used})
