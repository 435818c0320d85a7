"""Metrics of usage, events that count once, monthly budgets, and ports. Every port raises ``DatabaseUnavailable``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal, NewType, Protocol
from uuid import NAMESPACE_URL, uuid5

from deeplens.access.ports import RequestCounters
from deeplens.events.notifications import TenantNotification
from deeplens.events.usage import TenantUsage
from deeplens.images.model import MediaRecord, is_video

StorageInterval = NewType("StorageInterval", timedelta)
"""Time between two measurements of a tenant's storage."""

REQUESTS, SEARCHES, EGRESS = "api.requests", "searches", "egress.bytes"
STORED_BYTES, STORED_IMAGES = "storage.bytes", "storage.images"
COUNTED_WITHIN = timedelta(days=95)
"""Older events are not counted, as their ids are no longer stored. The topic keeps 90 days."""
IDS_KEPT = timedelta(days=100)
"""How long the ids of counted events are stored: longer than an event may be late."""
AHEAD = timedelta(days=1)
"""How far ahead the clock of a producer may be."""
Action = Literal["warn", "pause"]
USAGE_BUDGET = "usage.budget"
EXHAUSTED_PERCENT = 100


@dataclass(frozen=True, slots=True)
class Metric:
    """A gauge is a level, not a sum: its newest value of a day counts for the day."""

    unit: str
    gauge: bool = False


METRICS = {
    REQUESTS: Metric("requests"),
    SEARCHES: Metric("searches"),
    EGRESS: Metric("bytes"),
    "images.uploaded": Metric("images"),
    "videos.uploaded": Metric("videos"),
    "bytes.uploaded": Metric("bytes"),
    "images.completed": Metric("images"),
    "embeddings": Metric("embeddings"),
    "inference.ms": Metric("milliseconds"),
    STORED_BYTES: Metric("bytes", gauge=True),
    STORED_IMAGES: Metric("images", gauge=True),
}
GAUGES = tuple(name for name, metric in METRICS.items() if metric.gauge)


@dataclass(frozen=True, slots=True)
class UsageRow:
    """A tenant's total of a metric on a day (UTC)."""

    tenant_id: str
    day: date
    metric: str
    quantity: float

    @property
    def unit(self) -> str:
        return unit_of(self.metric)


@dataclass(frozen=True, slots=True)
class Unmetered:
    """Requests, searches and bytes of a tenant that have not been metered."""

    event_id: str
    tenant_id: str
    occurred_at: datetime
    quantities: Mapping[str, float]


type UsagePosition = tuple[str, date, str]
"""Tenant, day and metric of the last row already read."""


class UsageMeter(Protocol):
    def record(self, entries: Sequence[tuple[str, str, str, float, datetime]]) -> None:
        """Add (event_id, tenant_id, metric, quantity, occurred_at) to the day's totals, once per event id.

        An event may have several metrics. The ``Unmetered`` with its id is deleted.
        """

    def days(self, tenant_id: str, first: date, last: date) -> list[UsageRow]:
        """A tenant's totals by metric and day, both days included, with counts that have not been metered."""

    def overview(self, first: date, last: date, tenant_id: str | None, after: str, limit: int) -> list[UsageRow]:
        """Totals by tenant and metric for up to ``limit`` tenants behind ``after``, or for one tenant.

        ``day`` is the last day; a gauge is the mean of its days.
        """

    def rows(
        self, first: date, last: date, tenant_id: str | None, after: UsagePosition | None, limit: int
    ) -> list[UsageRow]:
        """Metered totals by tenant, day and metric, in this order, behind ``after``."""

    def carry_gauges(self, today: date) -> bool:
        """Copy each gauge into a day that has begun, and into missed days. Returns False if that was done before."""

    def due_for_measurement(self, now: datetime, every: timedelta, limit: int) -> list[str]:
        """Tenants that changed after the last measurement of their storage, if that is older than ``every``."""

    def mark_measured(self, tenant_ids: Sequence[str], now: datetime) -> None:
        """Record that their storage is being measured."""

    def forget(self, before: datetime, limit: int) -> int:
        """Delete up to ``limit`` ids of events from before then; returns how many."""


class RequestMinutes(RequestCounters, Protocol):
    """What ``RequestCounters`` counted, minute by minute until it is metered."""

    def so_far(self, tenant_id: str, now: datetime) -> int:
        """The tenant's requests in this minute, without counting one."""

    def close_minutes(self, before: datetime, limit: int) -> int:
        """Turn up to ``limit`` minutes before ``before`` into one ``Unmetered`` per tenant and day; returns how many
        minutes. Those of tenants that are gone are dropped."""

    def unmetered(self, now: datetime, again: datetime, limit: int) -> list[Unmetered]:
        """Those that are due, the oldest first; they are due again at ``again`` unless they were metered."""


def unit_of(metric: str) -> str:
    return METRICS[metric].unit if metric in METRICS else "units"


def usage_id(*identity: object) -> str:
    """The id of an event that counts once, however often it is sent."""
    return str(uuid5(NAMESPACE_URL, f"usage/{'/'.join(map(str, identity))}"))


def usage_event(
    tenant_id: str, quantities: Mapping[str, float], at: datetime, event_id: str = "", image_id: str | None = None
) -> TenantUsage:
    """Create an event for the first metric, with further metrics in ``quantities``."""
    (metric, quantity), *others = quantities.items()
    return TenantUsage(
        event_id=event_id,
        tenant_id=tenant_id,
        image_id=image_id,
        metric=metric,
        quantity=quantity,
        unit=unit_of(metric),
        occurred_at=at,
        quantities=dict(others) or None,
    )


def upload_event(tenant_id: str, media: MediaRecord) -> TenantUsage:
    """Create the event of an upload, which counts once: when its image or video ends, however often it does.

    Frames of a video are no uploads.
    """
    video = is_video(media.id)
    quantities = {"videos.uploaded" if video else "images.uploaded": 1, "bytes.uploaded": media.size_bytes}
    event_id = usage_id("upload", tenant_id, media.id)
    return usage_event(tenant_id, quantities, media.uploaded_at, event_id, None if video else media.id)


def month_of(now: datetime) -> date:
    """First day of the month (UTC)."""
    return now.astimezone(UTC).date().replace(day=1)


def month_after(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)


def start_of(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


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


class Budgets(Protocol):
    """Budgets of all tenants (platform database)."""

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
