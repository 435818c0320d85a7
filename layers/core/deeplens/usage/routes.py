"""/v1/usage: what the caller's tenant uses, and how much it may."""

from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Annotated

from fastapi import APIRouter, Query

from deeplens.access.caller import Reader
from deeplens.http.dependencies import ApiParts, Parts
from deeplens.http.fields import refusal
from deeplens.http.problems import responses
from deeplens.tenants.limits import ResourceLimits, largest_file
from deeplens.tenants.model import Tenant
from deeplens.usage.budget_routes import budgets_of
from deeplens.usage.model import DayTotal
from deeplens.usage.schemas import DayQuantity, EffectiveLimits, Usage, UsageQuery

router = APIRouter(prefix="/v1/usage", tags=["usage"])
USUAL_DAYS, MOST_DAYS = 30, 366


@router.get("", summary="Limits and usage", responses=responses())
def get_usage(caller: Reader, parts: Parts, query: Annotated[UsageQuery, Query()]) -> Usage:
    """What the tenant stores, its requests in this minute, and totals per day (UTC): 30 days, at most 366.

    A deleted image counts until its files are gone. Requests include those that were refused.
    """
    return usage_of(parts, caller.tenant, caller.limits, caller.requests, query)


def usage_of(parts: ApiParts, tenant: Tenant, limits: ResourceLimits, requests: int, query: UsageQuery) -> Usage:
    """What a tenant uses; ``requests`` are those of this minute."""
    first, last = days_of(query, parts.clock.now())
    stored = parts.images.totals(tenant)
    return Usage(
        limits=EffectiveLimits(
            max_images=limits.max_images,
            max_bytes=limits.max_bytes,
            requests_per_minute=limits.requests_per_minute,
            max_file_bytes=largest_file(limits, parts.settings.max_upload_bytes),
        ),
        images=stored.images,
        bytes=stored.bytes,
        requests_this_minute=requests,
        first=first,
        last=last,
        daily=_by_metric(parts.usage.days(tenant.id, first, last)),
        **dict(budgets_of(parts, tenant.id)),
    )


def days_of(query: UsageQuery, now: datetime) -> tuple[date, date]:
    """The days that are asked for (UTC), both included."""
    today = now.astimezone(UTC).date()
    last = query.last or max(today, query.first or today)
    first = query.first or last - timedelta(days=USUAL_DAYS - 1)
    if first > last:
        raise refusal("query", ("from",), "is after to")
    if (last - first).days >= MOST_DAYS:
        raise refusal("query", ("from",), f"at most {MOST_DAYS} days, both included")
    return first, last


def _by_metric(totals: list[DayTotal]) -> dict[str, list[DayQuantity]]:
    return {
        metric: [DayQuantity(day=total.day, quantity=total.quantity) for total in days]
        for metric, days in groupby(totals, lambda total: total.metric)
    }
