"""/v1/admin/usage: what tenants used, to look at and to bill."""

import csv
import io
from collections.abc import Sequence
from datetime import date
from itertools import groupby
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.responses import Response

from deeplens.access.caller import AuthenticatedAdministrator, no_tenant
from deeplens.access.principal import Principal
from deeplens.http import cursor
from deeplens.http.dependencies import Admin
from deeplens.http.problems import responses
from deeplens.usage.model import UsageRow
from deeplens.usage.routes import days_of
from deeplens.usage.schemas import (
    ExportedRow,
    ExportQuery,
    OverviewQuery,
    TenantDays,
    TenantUsageTotals,
    UsageOverview,
)

router = APIRouter(prefix="/v1/admin/usage", tags=["usage"])
COLUMNS = ("tenant_id", "day", "metric", "quantity", "unit")
MOST_ROWS = 40_000
"""Of one answer: API Gateway and Lambda carry 6 MB. A link leads to the next part."""


@router.get("", summary="Usage of tenants", responses=responses(404))
def usage_overview(
    parts: Admin, principal: AuthenticatedAdministrator, query: Annotated[OverviewQuery, Query()]
) -> UsageOverview:
    """Totals by tenant and metric over some days (UTC): 30 up to today, at most 366. A tenant's own credentials show
    itself only. What requests used is here some minutes later."""
    first, last = days_of(query, parts.clock.now())
    tenant_id = _within_reach(principal, query)
    # A tenant may have nothing, so a page is full when its tenants are, not its rows.
    ids = [one.id for one in parts.tenant_records.page(query.after, None, query.limit)] if tenant_id is None else []
    found = parts.usage.overview(first, last, tenant_id, query.after, query.limit)
    return UsageOverview(
        first=first,
        last=last,
        tenants=[
            TenantUsageTotals(tenant_id=owner, totals={row.metric: row.quantity for row in rows})
            for owner, rows in groupby(found, lambda row: row.tenant_id)
        ],
        next=ids[-1] if len(ids) == query.limit else None,
    )


@router.get(
    "/export",
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
    parts: Admin, principal: AuthenticatedAdministrator, query: Annotated[ExportQuery, Query()]
) -> Response:
    """Days (UTC), both included. Of a gauge, the last value of each day. A day is final when it is 95 days old; in
    practice a quarter of an hour after it ended."""
    first, last = days_of(query, parts.clock.now())
    tenant_id = _within_reach(principal, query)
    after = cursor.read_usage(query.cursor) if query.cursor else None
    # Read to its end before it begins: an answer that broke off in between would look like a whole one.
    found = parts.usage.rows(first, last, tenant_id, after, MOST_ROWS + 1)
    rows, more = found[:MOST_ROWS], len(found) > MOST_ROWS
    headers = {"Content-Disposition": f'attachment; filename="usage-{first}-{last}.{query.format}"'}
    if more:
        headers["Link"] = next_part(query, first, last, rows[-1])
    write, media_type = (csv_of, "text/csv") if query.format == "csv" else (json_of, "application/json")
    return Response(write(rows), headers=headers, media_type=media_type)


def csv_of(rows: Sequence[UsageRow]) -> str:
    """RFC 4180, the columns by these names and in this order for ever; new ones come behind."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    writer.writerows((row.tenant_id, row.day, row.metric, number(row.quantity), row.unit) for row in rows)
    return out.getvalue()


def json_of(rows: Sequence[UsageRow]) -> str:
    shown = (ExportedRow(**{name: getattr(row, name) for name in COLUMNS}) for row in rows)
    return f"[{',\n'.join(one.model_dump_json(by_alias=True) for one in shown)}]"


def number(quantity: float) -> str:
    """Whole numbers without a fraction, and none with an exponent."""
    return str(int(quantity)) if quantity == int(quantity) else f"{quantity:.6f}".rstrip("0")


def next_part(query: ExportQuery, first: date, last: date, end: UsageRow) -> str:
    given = {
        "format": query.format,
        "from": first,
        "to": last,
        "tenant_id": query.tenant_id,
        "cursor": cursor.write_usage((end.tenant_id, end.day, end.metric)),
    }
    known = {name: value for name, value in given.items() if value is not None}
    return f'</v1/admin/usage/export?{urlencode(known)}>; rel="next"'


def _within_reach(principal: Principal, query: TenantDays) -> str | None:
    """The tenant that is asked for; None is all of them. Other tenants do not exist for a tenant's administrator."""
    if principal.tenant_id is not None and query.tenant_id not in (None, principal.tenant_id):
        raise no_tenant(query.tenant_id or "")
    return principal.tenant_id or query.tenant_id
