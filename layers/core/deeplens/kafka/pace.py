"""How many records an invocation takes on before its time is up."""

import math
import time
from collections.abc import Callable

RESERVE_SECONDS = 12.0
"""Kept for what follows the work: delivering events, and answering."""
CAUTION = 2.0
"""Records are expected to take so many times as long as those before them."""

type RemainingMillis = Callable[[], int]


def affordable(remaining_seconds: float, seconds_per_record: float, count: int) -> int:
    """How many of ``count`` records can be worked in the time that remains; 0 when none can.

    Parameters
    ----------
    seconds_per_record : of those before; 0 while nothing is known, then all are taken on.
    """
    spare = remaining_seconds - RESERVE_SECONDS
    if spare <= 0:
        return 0
    if seconds_per_record <= 0 or math.isinf(spare):
        return count
    return min(count, int(spare / (CAUTION * seconds_per_record)))


class Pace:
    """What an execution environment has learnt about its records, from one invocation to the next."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic, self._seconds_per_record = monotonic, 0.0

    def slice(self, remaining: RemainingMillis | None, count: int, *, first: bool) -> int:
        """How many records to work next. The first slice has one at least, or a batch would never get anywhere."""
        seconds = remaining() / 1000 if remaining else math.inf
        return max(affordable(seconds, self._seconds_per_record, count), 1 if first else 0)

    def measured[T](self, count: int, work: Callable[[], T]) -> T:
        """Run work on ``count`` records and remember how long it took."""
        started = self._monotonic()
        try:
            return work()
        finally:
            self._seconds_per_record = (self._monotonic() - started) / count
