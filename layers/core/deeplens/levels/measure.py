"""every minute → gauges of the platform"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import ClassVar, NewType, Protocol

from deeplens.common.event import Event
from deeplens.common.ports import Clock
from deeplens.telemetry import instruments as of
from deeplens.telemetry.instruments import MAX_TENANTS, OTHER
from deeplens.telemetry.metrics import record

TenantWindow = NewType("TenantWindow", int)
"""Images of one tenant in flight."""


@dataclass(frozen=True, slots=True)
class PendingLevel:
    """Images of a tenant that have not ended: those in flight, and those that wait for the window."""

    tenant_id: str
    in_flight: int
    waiting: int
    oldest: datetime


@dataclass(frozen=True, slots=True)
class TenantLevel:
    """A quantity of a tenant; ``metric`` is one of usage."""

    tenant_id: str
    quantity: float
    metric: str = ""


@dataclass(frozen=True, slots=True)
class Queue:
    """How many wait, and since when the first of them."""

    waiting: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class DatabaseLoad:
    """Open connections of the server, and its limit."""

    platform: int
    tenants: int
    limit: int


class Levels(Protocol):
    """Platform database. Every method raises ``DatabaseUnavailable``."""

    def pending(self) -> list[PendingLevel]: ...

    def open_dead_letters(self) -> list[TenantLevel]:
        """Dead letters that nobody settled; the tenant of an unreadable record is empty."""

    def due_webhooks(self, now: datetime) -> Queue: ...

    def usage(self, day: date) -> list[TenantLevel]: ...

    def connections(self) -> DatabaseLoad: ...


class MeasureLevels:
    """Record the gauges of the platform. Emits nothing."""

    name: ClassVar = "levels"

    def __init__(self, levels: Levels, tenant_window: TenantWindow, clock: Clock) -> None:
        self._levels, self._window, self._clock = levels, tenant_window, clock

    def __call__(self) -> list[Event]:
        now = self._clock.now()
        self._measure_pending(now)
        letters = self._levels.open_dead_letters()
        for level in [*largest(letters), *([] if letters else [TenantLevel("", 0)])]:
            record(of.DEAD_LETTERS_OPEN, level.quantity, tenant=level.tenant_id)
        due = self._levels.due_webhooks(now)
        record(of.WEBHOOKS_WAITING, due.waiting)
        record(of.WEBHOOKS_WAITING_AGE, age(due.oldest, now))
        usage = self._levels.usage(now.astimezone(UTC).date())
        for metric in sorted({level.metric for level in usage}):
            for level in largest([level for level in usage if level.metric == metric]):
                record(of.TENANT_USAGE, level.quantity, tenant=level.tenant_id, metric=metric)
        load = self._levels.connections()
        record(of.DATABASE_CONNECTIONS, load.platform, database="platform")
        record(of.DATABASE_CONNECTIONS, load.tenants, database="tenants")
        record(of.DATABASE_CONNECTIONS_LIMIT, load.limit)
        return []

    def _measure_pending(self, now: datetime) -> None:
        pending = self._levels.pending()
        record(of.PENDING_AGE, age(min((level.oldest for level in pending), default=None), now))
        for level in largest([TenantLevel(level.tenant_id, level.in_flight) for level in pending]):
            record(of.PENDING, level.quantity, tenant=level.tenant_id, state="in_flight")
            if level.tenant_id != OTHER:
                record(of.WINDOW_USE, level.quantity / self._window, tenant=level.tenant_id)
        for level in largest([TenantLevel(level.tenant_id, level.waiting) for level in pending]):
            record(of.PENDING, level.quantity, tenant=level.tenant_id, state="waiting")


def age(since: datetime | None, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds()) if since else 0.0


def largest(levels: Sequence[TenantLevel]) -> Iterator[TenantLevel]:
    """The ``MAX_TENANTS`` largest, and the sum of the others."""
    ordered = sorted(levels, key=lambda level: -level.quantity)
    yield from ordered[:MAX_TENANTS]
    if rest := ordered[MAX_TENANTS:]:
        yield TenantLevel(OTHER, sum(level.quantity for level in rest))
