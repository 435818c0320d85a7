"""/v1/admin/tenants/{id}/budgets: how much a tenant wants to use in a month, and what happens then."""

from datetime import datetime

from fastapi import APIRouter

from deeplens.access.caller import Administrator
from deeplens.http.dependencies import Admin, ApiParts
from deeplens.http.problems import responses
from deeplens.usage.budgets import Budget, BudgetState
from deeplens.usage.model import month_after, month_of, start_of, unit_of
from deeplens.usage.schemas import BudgetList, BudgetsRequest, BudgetView

router = APIRouter(prefix="/v1/admin/tenants/{tenant_id}/budgets", tags=["usage"])


@router.get("", summary="Budgets of a tenant", responses=responses(404))
def list_budgets(parts: Admin, tenant: Administrator) -> BudgetList:
    return budgets_of(parts, tenant.id)


@router.put("", summary="Set a tenant's budgets", responses=responses(404))
def set_budgets(parts: Admin, tenant: Administrator, wanted: BudgetsRequest) -> BudgetList:
    """Replaces all of them; in effect everywhere within ten seconds. One that changed is told of anew."""
    save(parts, tenant.id, wanted)
    return budgets_of(parts, tenant.id)


@router.delete("", status_code=204, summary="Remove a tenant's budgets", responses=responses(404))
def remove_budgets(parts: Admin, tenant: Administrator) -> None:
    """Uploads that they paused go on."""
    save(parts, tenant.id, BudgetsRequest(budgets=[]))


def save(parts: ApiParts, tenant_id: str, wanted: BudgetsRequest) -> None:
    now = parts.clock.now()
    given = [Budget(one.metric, one.limit, tuple(sorted(set(one.warn_percent))), one.action) for one in wanted.budgets]
    parts.budgets.save(tenant_id, given, month_of(now))
    parts.budgets.evaluate(now, month_of(now), tenant_id)


def budgets_of(parts: ApiParts, tenant_id: str) -> BudgetList:
    now = parts.clock.now()
    states = parts.budgets.of_tenant(tenant_id, month_of(now))
    return BudgetList(budgets=[shown(state) for state in states], uploads_paused_until=paused_until(states, now))


def paused_until(states: list[BudgetState], now: datetime) -> datetime | None:
    paused = any(state.exhausted and state.budget.action == "pause" for state in states)
    return start_of(month_after(month_of(now))) if paused else None


def shown(state: BudgetState) -> BudgetView:
    budget = state.budget
    return BudgetView(
        metric=budget.metric,
        limit=budget.limit,
        warn_percent=list(budget.warn_percent),
        action=budget.action,
        month=f"{state.month:%Y-%m}",
        unit=unit_of(budget.metric),
        used=state.used,
        percent=state.percent,
    )
