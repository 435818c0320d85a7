"""Counting the requests, searches and egress of tenants."""

from collections.abc import Callable
from datetime import datetime

from deeplens.access.ports import RequestCounters
from deeplens.common.ports import Clock
from deeplens.errors import DependencyUnavailable
from deeplens.telemetry.logs import logger


class RequestCounter:
    """Count what tenants use of the API. Fail open: a request that cannot be counted is served."""

    def __init__(self, counters: RequestCounters, clock: Clock) -> None:
        self._counters, self._clock = counters, clock

    def count_request(self, tenant_id: str, now: datetime) -> int:
        """The tenant's requests in this minute, this one included; 0 if they cannot be counted."""
        return _fail_open(tenant_id, lambda: self._counters.count(tenant_id, now)) or 0

    def count_search(self, tenant_id: str) -> None:
        _fail_open(tenant_id, lambda: self._counters.add(tenant_id, self._clock.now(), searches=1))

    def count_egress(self, tenant_id: str, size_bytes: int) -> None:
        """Count bytes of a file that leave the store for a client."""
        _fail_open(tenant_id, lambda: self._counters.add(tenant_id, self._clock.now(), egress_bytes=size_bytes))


def _fail_open[T](tenant_id: str, count: Callable[[], T]) -> T | None:
    try:
        return count()
    except DependencyUnavailable as error:
        logger().warning("not counted", tenant_id=tenant_id, reason=str(error))
        return None
