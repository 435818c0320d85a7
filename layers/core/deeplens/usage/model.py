"""What tenants use, as it is counted: metrics, the ids of what is counted once, and ports on the platform database.

Every method of a port raises ``DatabaseUnavailable``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NewType, Protocol
from uuid import NAMESPACE_URL, uuid5

from deeplens.events.usage import TenantUsage

StorageInterval = NewType("StorageInterval", timedelta)
"""Time between two measurements of a tenant's storage."""

REQUESTS, SEARCHES, EGRESS = "api.requests", "searches", "egress.bytes"
STORED_BYTES, STORED_IMAGES = "storage.bytes", "storage.images"
COUNTED_WITHIN = timedelta(days=95)
"""An event that is older is not counted: nobody could tell any more whether it has been. The topic keeps 90 days."""
IDS_KEPT = timedelta(days=100)
"""How long the ids of counted events stand: longer than an event may come."""
AHEAD = timedelta(days=1)
"""How far ahead the clock of a producer may be."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A gauge is how much there is, not how much more: the newest value of a day is that day's."""

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
class DayTotal:
    """How much of a metric a tenant used on a day (UTC); of a gauge, how much there was."""

    metric: str
    day: date
    quantity: float


@dataclass(frozen=True, slots=True)
class UsageRow:
    """A total of a tenant's day, as it is billed."""

    tenant_id: str
    day: date
    metric: str
    quantity: float

    @property
    def unit(self) -> str:
        return unit_of(self.metric)


@dataclass(frozen=True, slots=True)
class Unmetered:
    """Requests, searches and bytes of a tenant that are on their way to the meter."""

    event_id: str
    tenant_id: str
    occurred_at: datetime
    quantities: Mapping[str, float]


type UsagePosition = tuple[str, date, str]
"""Tenant, day and metric of the last row already read."""


class UsageMeter(Protocol):
    def record(self, entries: Sequence[tuple[str, str, str, float, datetime]]) -> None:
        """Add (event_id, tenant_id, metric, quantity, occurred_at) to the day's totals, once per event id.

        An event may have several metrics. What stood as ``Unmetered`` under its id is forgotten with it.
        """

    def days(self, tenant_id: str, first: date, last: date) -> list[DayTotal]:
        """Totals of a tenant by metric and day, both days included, with what was counted but not metered so far."""

    def overview(self, first: date, last: date, tenant_id: str | None, after: str, limit: int) -> list[UsageRow]:
        """Totals by tenant and metric over the days of at most ``limit`` tenants behind ``after``, or of one tenant.

        ``day`` is the last of them; a gauge is the mean of the days that have one.
        """

    def rows(
        self, first: date, last: date, tenant_id: str | None, after: UsagePosition | None, limit: int
    ) -> list[UsageRow]:
        """Metered totals by tenant, day and metric, in this order, behind ``after``."""

    def roll_up(self, today: date) -> bool:
        """Carry each gauge over into a day that has begun, and days that were missed; False when that was done."""

    def unmeasured(self, now: datetime, every: timedelta, limit: int) -> list[str]:
        """Tenants that have changed since their storage was measured, but not measured in the last ``every``."""

    def measured(self, tenant_ids: Sequence[str], now: datetime) -> None:
        """Note that their storage is being measured."""

    def forget(self, before: datetime, limit: int) -> int:
        """Drop up to ``limit`` ids of events from before then; returns how many."""


class RequestCounters(Protocol):
    """Requests per tenant and minute, and what is counted with them."""

    def count(self, tenant_id: str, now: datetime) -> int:
        """Count one request; returns the tenant's requests in this minute, this one included."""

    def add(self, tenant_id: str, now: datetime, *, searches: int = 0, egress_bytes: int = 0) -> None:
        """Count what a request turned out to be."""

    def so_far(self, tenant_id: str, now: datetime) -> int:
        """The tenant's requests in this minute, without counting one."""

    def fold(self, before: datetime, limit: int) -> int:
        """Turn up to ``limit`` minutes before ``before`` into one ``Unmetered`` per tenant and day; returns how many
        minutes. Those of tenants that are gone are dropped."""

    def unmetered(self, now: datetime, again: datetime, limit: int) -> list[Unmetered]:
        """Those that are due, the oldest first; they are due again at ``again`` unless they were metered."""


def unit_of(metric: str) -> str:
    return METRICS[metric].unit if metric in METRICS else "units"


def usage_id(*identity: object) -> str:
    """The id of an event that counts once, however often and from wherever it is sent."""
    return str(uuid5(NAMESPACE_URL, f"usage/{'/'.join(map(str, identity))}"))


def usage_event(
    tenant_id: str, quantities: Mapping[str, float], at: datetime, event_id: str = "", image_id: str | None = None
) -> TenantUsage:
    """An event of the first metric, with the others beside it."""
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


def upload_event(tenant_id: str, image_id: str, size_bytes: int, uploaded_at: datetime) -> TenantUsage:
    """An upload, counted once in its life: when its image ends, however that is and however often."""
    quantities = {"images.uploaded": 1, "bytes.uploaded": size_bytes}
    event_id = usage_id("upload", tenant_id, image_id)
    return usage_event(tenant_id, quantities, uploaded_at, event_id, image_id)


def video_upload_event(tenant_id: str, video_id: str, size_bytes: int, uploaded_at: datetime) -> TenantUsage:
    """The same of a video, whose frames are no uploads."""
    quantities = {"videos.uploaded": 1, "bytes.uploaded": size_bytes}
    return usage_event(tenant_id, quantities, uploaded_at, usage_id("upload", tenant_id, video_id))


def month_of(now: datetime) -> date:
    """First day of the month (UTC)."""
    return now.astimezone(UTC).date().replace(day=1)


def month_after(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)


def start_of(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
