"""every minute → requests of more than a day ago into the totals per tenant and day"""

from datetime import timedelta
from typing import ClassVar

from deeplens.contracts.events import Event
from deeplens.ports import Clock, RequestCounters


class FoldRequests:
    """Add old minutes to their day and forget them: one statement over all tenants. Emits nothing."""

    name: ClassVar = "requests"
    batch_size: ClassVar = 50_000
    keep: ClassVar = timedelta(days=1)

    def __init__(self, request_counters: RequestCounters, clock: Clock) -> None:
        self._counters, self._clock = request_counters, clock

    def __call__(self) -> list[Event]:
        self._counters.fold(self._clock.now() - self.keep, self.batch_size)
        return []
