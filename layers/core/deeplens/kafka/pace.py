"""How many records an invocation accepts before its time is up."""

import math
import time
from collections.abc import Callable

RESERVE_SECONDS = 12.0
"""Reserved for what follows the stage: delivering events, and the response."""
CAUTION = 2.0
"""Records may take this many times as long as those before them."""

type RemainingMillis = Callable[[], int]


def affordable(remaining_seconds: float, seconds_per_record: float, count: int) -> int:
    """How many of ``count`` records can be processed in the time that remains; all while their speed is unknown (0)."""
    spare = remaining_seconds - RESERVE_SECONDS
    if spare <= 0:
        return 0
    if seconds_per_record <= 0 or math.isinf(spare):
        return count
    return min(count, int(spare / (CAUTION * seconds_per_record)))


class Pace:
    """Measures how long records take in this execution environment, over all its invocations."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic, self._seconds_per_record = monotonic, 0.0

    def slice(self, remaining: RemainingMillis | None, count: int, *, first: bool) -> int:
        """How many records to process next; at least one at first, so that every invocation makes progress."""
        seconds = remaining() / 1000 if remaining else math.inf
        return max(affordable(seconds, self._seconds_per_record, count), 1 if first else 0)

    def measured[T](self, count: int, work: Callable[[], T]) -> T:
        """Run work on ``count`` records and remember how long it took."""
        started = self._monotonic()
        try:
            return work()
        finally:
            self._seconds_per_record = (self._monotonic() - started) / count
