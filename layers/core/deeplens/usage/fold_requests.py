"""every minute → requests, searches and egress of ended minutes → deeplens.tenant.usage"""

from datetime import timedelta
from typing import ClassVar

from deeplens.common.ports import Clock
from deeplens.events.usage import TenantUsage
from deeplens.usage.model import REQUESTS, RequestCounters, Unmetered, usage_event


class FoldRequests:
    """Turn ended minutes into one event per tenant that has any: two statements over all tenants.

    The counts stay where they are until their event has been metered, and are sent again if that takes too long.
    """

    name: ClassVar = "requests"
    batch_size: ClassVar = 50_000
    events_at_once: ClassVar = 5000
    keep: ClassVar = timedelta(minutes=3)
    """How long a minute stands: who shares the windows of images is told by the last two."""
    lost_after: ClassVar = timedelta(minutes=15)

    def __init__(self, request_counters: RequestCounters, clock: Clock) -> None:
        self._counters, self._clock = request_counters, clock

    def __call__(self) -> list[TenantUsage]:
        now = self._clock.now()
        self._counters.fold(now - self.keep, self.batch_size)
        due = self._counters.unmetered(now, now + self.lost_after, self.events_at_once)
        return [_event(one) for one in due]


def _event(one: Unmetered) -> TenantUsage:
    quantities = {REQUESTS: 0.0, **one.quantities}
    return usage_event(one.tenant_id, quantities, one.occurred_at, one.event_id)
