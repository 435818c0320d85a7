"""/v1/admin/tenants/{id}/budgets: how much a tenant wants to use in a month, and what happens then."""

from fastapi import APIRouter

from deeplens.access.caller import Administrator
from deeplens.http.dependencies import Injected
from deeplens.http.problems import responses
from deeplens.usage.budgets import Budget
from deeplens.usage.read import TenantBudgets
from deeplens.usage.schemas import BudgetList, BudgetRequest, BudgetsRequest

router = APIRouter(prefix="/v1/admin/tenants/{tenant_id}/budgets", tags=["usage"])


@router.get("", summary="Budgets of a tenant", responses=responses(404))
def list_budgets(tenant: Administrator, budgets: Injected[TenantBudgets]) -> BudgetList:
    return budgets.read(tenant.id)


@router.put("", summary="Set a tenant's budgets", responses=responses(404))
def set_budgets(tenant: Administrator, budgets: Injected[TenantBudgets], wanted: BudgetsRequest) -> BudgetList:
    """Replace all budgets, in effect everywhere within ten seconds. A changed budget warns again."""
    budgets.replace(tenant.id, [_budget(budget) for budget in wanted.budgets])
    return budgets.read(tenant.id)


@router.delete("", status_code=204, summary="Remove a tenant's budgets", responses=responses(404))
def remove_budgets(tenant: Administrator, budgets: Injected[TenantBudgets]) -> None:
    """Uploads that they paused go on."""
    budgets.replace(tenant.id, [])


def _budget(request: BudgetRequest) -> Budget:
    return Budget(request.metric, request.limit, tuple(sorted(set(request.warn_percent))), request.action)
