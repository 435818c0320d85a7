"""/v1/usage for tenants; for administrators /v1/admin/usage and a tenant's budgets."""

import csv
import io
from collections.abc import Sequence
from datetime import date
from itertools import groupby
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.responses import Response

from deeplens.access.caller import Administrator, AuthenticatedAdministrator, Reader, no_tenant
from deeplens.access.model import Principal
from deeplens.common.ports import Clock
from deeplens.http import cursor
from deeplens.http.dependencies import Injected
from deeplens.http.problems import responses
from deeplens.tenants.ports import TenantRecords
from deeplens.usage.model import Budget, UsageMeter, UsageRow
from deeplens.usage.read import ReadUsage, TenantBudgets, days_of
from deeplens.usage.schemas import (
    BudgetList,
    BudgetsRequest,
    ExportedRow,
    ExportQuery,
    OverviewQuery,
    TenantDays,
    TenantUsageTotals,
    Usage,
    UsageOverview,
    UsageQuery,
)

router = APIRouter(prefix="/v1/usage", tags=["usage"])
admin_router = APIRouter(prefix="/v1/admin", tags=["usage"])
BUDGETS = "/tenants/{tenant_id}/budgets"
COLUMNS = ("tenant_id", "day", "metric", "quantity", "unit")
MAX_ROWS = 40_000
"""Of one response, as API Gateway and Lambda carry 6 MB; a link leads to the next part."""


@router.get("", summary="Limits and usage", responses=responses())
def get_usage(caller: Reader, read: Injected[ReadUsage], query: Annotated[UsageQuery, Query()]) -> Usage:
    """What the tenant stores, its requests in this minute, and totals per day (UTC): 30 days, at most 366.

    A deleted image counts until its files are gone. Requests include those that were refused.
    """
    return read(caller.tenant, caller.limits, caller.requests, query)


@admin_router.get("/usage", summary="Usage of tenants", responses=responses(404))
def usage_overview(
    principal: AuthenticatedAdministrator,
    tenant_records: Injected[TenantRecords],
    usage: Injected[UsageMeter],
    clock: Injected[Clock],
    query: Annotated[OverviewQuery, Query()],
) -> UsageOverview:
    """Totals by tenant and metric over some days (UTC): 30 up to today, at most 366. A tenant's own credentials show
    itself only. What requests used is here some minutes later."""
    first, last = days_of(query, clock.now())
    tenant_id = _requested_tenant(principal, query)
    # Some tenants have no rows, so tenants decide whether a page is full.
    ids = [record.id for record in tenant_records.page(query.after, None, query.limit)] if tenant_id is None else []
    totals = usage.overview(first, last, tenant_id, query.after, query.limit)
    return UsageOverview(
        first=first,
        last=last,
        tenants=[
            TenantUsageTotals(tenant_id=owner, totals={row.metric: row.quantity for row in rows})
            for owner, rows in groupby(totals, lambda row: row.tenant_id)
        ],
        next=ids[-1] if len(ids) == query.limit else None,
    )


@admin_router.get(
    "/usage/export",
    summary="Usage for billing",
    response_class=Response,
    responses={
        200: {
            "description": "A row per tenant, day and metric, in this order. Parts after the first repeat the header.",
            "content": {
                "text/csv": {"schema": {"type": "string"}},
                "application/json": {"schema": {"type": "array", "items": ExportedRow.model_json_schema()}},
            },
            "headers": {
                "Link": {"schema": {"type": "string"}, "description": 'the next part, `rel="next"`; absent at the end'}
            },
        },
        **responses(404),
    },
)
def export_usage(
    principal: AuthenticatedAdministrator,
    usage: Injected[UsageMeter],
    clock: Injected[Clock],
    query: Annotated[ExportQuery, Query()],
) -> Response:
    """Days (UTC), both included. Of a gauge, the last value of each day. A day is final when it is 95 days old; in
    practice a quarter of an hour after it ended."""
    first, last = days_of(query, clock.now())
    tenant_id = _requested_tenant(principal, query)
    after = cursor.read_usage(query.cursor) if query.cursor else None
    # All rows are read before the answer begins: an answer that was cut off would look complete.
    read = usage.rows(first, last, tenant_id, after, MAX_ROWS + 1)
    rows, more = read[:MAX_ROWS], len(read) > MAX_ROWS
    headers = {"Content-Disposition": f'attachment; filename="usage-{first}-{last}.{query.format}"'}
    if more:
        headers["Link"] = next_part(query, first, last, rows[-1])
    write, media_type = (csv_of, "text/csv") if query.format == "csv" else (json_of, "application/json")
    return Response(write(rows), headers=headers, media_type=media_type)


@admin_router.get(BUDGETS, summary="Budgets of a tenant", responses=responses(404))
def list_budgets(tenant: Administrator, budgets: Injected[TenantBudgets]) -> BudgetList:
    return budgets.read(tenant.id)


@admin_router.put(BUDGETS, summary="Set a tenant's budgets", responses=responses(404))
def set_budgets(tenant: Administrator, budgets: Injected[TenantBudgets], body: BudgetsRequest) -> BudgetList:
    """Replace all budgets, in effect everywhere within ten seconds. A changed budget warns again."""
    wanted = [
        Budget(budget.metric, budget.limit, tuple(sorted(set(budget.warn_percent))), budget.action)
        for budget in body.budgets
    ]
    budgets.replace(tenant.id, wanted)
    return budgets.read(tenant.id)


@admin_router.delete(BUDGETS, status_code=204, summary="Remove a tenant's budgets", responses=responses(404))
def remove_budgets(tenant: Administrator, budgets: Injected[TenantBudgets]) -> None:
    """Uploads that they paused go on."""
    budgets.replace(tenant.id, [])


def csv_of(rows: Sequence[UsageRow]) -> str:
    """Write RFC 4180. Columns keep their names and order; new ones are added at the end."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    writer.writerows((row.tenant_id, row.day, row.metric, number(row.quantity), row.unit) for row in rows)
    return out.getvalue()


def json_of(rows: Sequence[UsageRow]) -> str:
    exported = (ExportedRow(**{name: getattr(row, name) for name in COLUMNS}) for row in rows)
    return f"[{',\n'.join(row.model_dump_json(by_alias=True) for row in exported)}]"


def number(quantity: float) -> str:
    """Format a number without exponent, whole numbers without fraction."""
    return str(int(quantity)) if quantity == int(quantity) else f"{quantity:.6f}".rstrip("0")


def next_part(query: ExportQuery, first: date, last: date, end: UsageRow) -> str:
    parameters = {
        "format": query.format,
        "from": first,
        "to": last,
        "tenant_id": query.tenant_id,
        "cursor": cursor.write((end.tenant_id, end.day, end.metric)),
    }
    known = {name: value for name, value in parameters.items() if value is not None}
    return f'</v1/admin/usage/export?{urlencode(known)}>; rel="next"'


def _requested_tenant(principal: Principal, query: TenantDays) -> str | None:
    """The requested tenant, or None for all. For a tenant's administrator, no other tenant exists."""
    if principal.tenant_id is not None and query.tenant_id not in (None, principal.tenant_id):
        raise no_tenant(query.tenant_id or "")
    return principal.tenant_id or query.tenant_id
