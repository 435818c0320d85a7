"""What tenants use, as it is counted: ports on the platform database. Every method raises ``DatabaseUnavailable``."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class DayTotal:
    """How much of a metric a tenant used on a day (UTC)."""

    metric: str
    day: date
    quantity: float


class UsageMeter(Protocol):
    def record(self, entries: Sequence[tuple[str, str, str, float, datetime]]) -> None:
        """Add (event_id, tenant_id, metric, quantity, occurred_at) to the day's totals, once per event id."""

    def days(self, tenant_id: str, first: date, last: date) -> list[DayTotal]:
        """Totals of a tenant by metric and day, both days included. ``api.requests`` holds what was counted so far."""


class RequestCounters(Protocol):
    """Requests per tenant and minute."""

    def count(self, tenant_id: str, now: datetime) -> int:
        """Count one request; returns the tenant's requests in this minute, this one included."""

    def so_far(self, tenant_id: str, now: datetime) -> int:
        """The tenant's requests in this minute, without counting one."""

    def fold(self, before: datetime, limit: int) -> int:
        """Move up to ``limit`` minutes before ``before`` into their days' ``api.requests``; returns how many."""
