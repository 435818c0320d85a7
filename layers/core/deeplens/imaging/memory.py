"""Limit the memory that all threads of a process use for decoding: small files can decode to gigabytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

BUDGET_BYTES = 800 * 1024 * 1024
"""Fits a function of 1,769 MB beside a batch of files; a larger image is decoded alone."""


class MemoryBudget:
    """Makes threads wait until the bytes that they need are available.

    Parameters
    ----------
    capacity_bytes : in use at once; a thread that needs more waits until it is alone.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity, self._taken = capacity_bytes, 0
        self._changed = Condition()

    @contextmanager
    def holding(self, needed_bytes: int) -> Iterator[None]:
        share = min(needed_bytes, self._capacity)
        with self._changed:
            self._changed.wait_for(lambda: self._taken + share <= self._capacity)
            self._taken += share
        try:
            yield
        finally:
            with self._changed:
                self._taken -= share
                self._changed.notify_all()


DECODING = MemoryBudget(BUDGET_BYTES)
