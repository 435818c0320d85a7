"""HTTP bodies of usage and budgets."""

from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from deeplens.http.schemas import ApiModel, Day, TenantId, example
from deeplens.usage.model import METRICS, Action


class UsageQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    first: Day | None = Field(default=None, alias="from", description="first day (UTC), inclusive")
    last: Day | None = Field(default=None, alias="to", description="last day (UTC), inclusive; today if absent")


class EffectiveLimits(ApiModel):
    """The limits in effect for the tenant; null is unlimited."""

    max_images: int | None = None
    max_bytes: int | None = None
    requests_per_minute: int | None = None
    max_file_bytes: int


class DayQuantity(ApiModel):
    day: date
    quantity: float


def _known_metric(name: str) -> str:
    if name not in METRICS:
        raise ValueError(f"use one of {', '.join(METRICS)}")
    return name


MetricName = Annotated[
    str, AfterValidator(_known_metric), WithJsonSchema({"type": "string", "enum": list(METRICS), "title": "Metric"})
]
Amount = Annotated[float, Field(gt=0, le=1e18, allow_inf_nan=False)]
Percent = Annotated[int, Field(ge=1, le=99)]

BUDGET = {"metric": "images.uploaded", "limit": 100000, "warnPercent": [80, 95], "action": "pause"}
BUDGET_STATE = {**BUDGET, "month": "2026-11", "unit": "images", "used": 81000, "percent": 81.0}
TOTALS = {"api.requests": 48210, "images.uploaded": 1204, "storage.bytes": 2466250752}
ROW = {"tenantId": "tenant_acme", "day": "2026-11-20", "metric": "searches", "quantity": 512, "unit": "searches"}


class TenantDays(UsageQuery):
    tenant_id: TenantId | None = Field(default=None, description="every tenant if absent, for operators")


class OverviewQuery(TenantDays):
    after: str = Field(default="", max_length=64, description="``next`` of the page before")
    limit: int = Field(default=50, ge=1, le=200)


class ExportQuery(TenantDays):
    format: Literal["csv", "json"] = "csv"
    cursor: str | None = Field(default=None, max_length=512, description="from the link to the next part")


class TenantUsageTotals(ApiModel):
    """By metric; a gauge (``storage.…``) is the mean of its days."""

    tenant_id: str
    totals: dict[str, float]


class UsageOverview(ApiModel):
    model_config = example(
        {
            "from": "2026-11-01",
            "to": "2026-11-20",
            "tenants": [{"tenantId": "tenant_acme", "totals": TOTALS}],
            "next": None,
        }
    )

    first: date = Field(alias="from")
    last: date = Field(alias="to")
    tenants: list[TenantUsageTotals] = Field(description="by id; those without usage are absent")
    next: str | None = Field(default=None, description="send as ``after`` for the next page")


class ExportedRow(ApiModel):
    """What a tenant used on a day (UTC): one row per tenant, day and metric, in this order."""

    model_config = example(ROW)

    tenant_id: str
    day: date
    metric: str
    quantity: float
    unit: str


class BudgetRequest(ApiModel):
    """A limit of one metric in every month (UTC); for a gauge, the maximum at any time."""

    model_config = ConfigDict(extra="forbid", **example(BUDGET))

    metric: MetricName
    limit: Amount = Field(description="in the metric's unit")
    warn_percent: list[Percent] = Field(
        default=[80], max_length=10, description="of the limit; each is notified once a month"
    )
    action: Action = Field(default="warn", description="``pause`` refuses uploads from the limit on")


class BudgetsRequest(ApiModel):
    model_config = ConfigDict(extra="forbid", **example({"budgets": [BUDGET]}))

    budgets: list[BudgetRequest] = Field(max_length=10)

    @model_validator(mode="after")
    def _one_per_metric(self) -> "BudgetsRequest":
        if len({budget.metric for budget in self.budgets}) != len(self.budgets):
            raise ValueError("at most one budget per metric")
        return self


class BudgetView(ApiModel):
    """A budget and what was metered of it; requests are metered some minutes after they were made."""

    model_config = example(BUDGET_STATE)

    metric: str
    limit: float
    warn_percent: list[int]
    action: Action
    month: str
    unit: str
    used: float
    percent: float


class BudgetList(ApiModel):
    model_config = example({"budgets": [BUDGET_STATE]})

    budgets: list[BudgetView] = Field(description="by metric")
    uploads_paused_until: AwareDatetime | None = Field(default=None, description="null unless uploads are refused")


class Usage(BudgetList):
    model_config = example(
        {
            "limits": {"maxImages": 10000, "maxBytes": None, "requestsPerMinute": 600, "maxFileBytes": 4400000},
            "images": 1204,
            "bytes": 2466250752,
            "requestsThisMinute": 17,
            "from": "2026-11-19",
            "to": "2026-11-20",
            "daily": {"images.completed": [{"day": "2026-11-20", "quantity": 12.0}]},
            "budgets": [BUDGET_STATE],
            "uploadsPausedUntil": None,
        }
    )

    limits: EffectiveLimits
    images: int = Field(description="stored, deleted ones until their files are gone")
    bytes: int = Field(description="of the originals")
    requests_this_minute: int
    first: date = Field(alias="from")
    last: date = Field(alias="to")
    daily: dict[str, list[DayQuantity]] = Field(description="by metric, oldest day first; days without are absent")
