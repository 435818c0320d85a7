"""every minute → requests, searches and egress of ended minutes → deeplens.tenant.usage"""

from datetime import timedelta
from typing import ClassVar

from deeplens.common.ports import Clock
from deeplens.events.usage import TenantUsage
from deeplens.usage.model import REQUESTS, RequestMinutes, Unmetered, usage_event


class MeterRequests:
    """Turn the counts of ended minutes into one event per tenant, with two statements over all tenants.

    The counts are stored until their event has been metered, and are sent again if that takes too long.
    """

    name: ClassVar = "requests"
    batch_size: ClassVar = 50_000
    events_at_once: ClassVar = 5000
    keep: ClassVar = timedelta(minutes=3)
    """How long minutes are kept: the last two decide which tenants share the windows of images."""
    lost_after: ClassVar = timedelta(minutes=15)

    def __init__(self, request_counters: RequestMinutes, clock: Clock) -> None:
        self._counters, self._clock = request_counters, clock

    def __call__(self) -> list[TenantUsage]:
        now = self._clock.now()
        self._counters.close_minutes(now - self.keep, self.batch_size)
        due = self._counters.unmetered(now, now + self.lost_after, self.events_at_once)
        return [_event(unmetered) for unmetered in due]


def _event(unmetered: Unmetered) -> TenantUsage:
    quantities = {REQUESTS: 0.0, **unmetered.quantities}
    return usage_event(unmetered.tenant_id, quantities, unmetered.occurred_at, unmetered.event_id)
