"""What decoding may hold in memory at once, over all threads of a process: small files can unfold to gigabytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

BUDGET_BYTES = 800 * 1024 * 1024
"""Fits a function of 1,769 MB beside a batch of files; a single larger image is decoded with nothing beside it."""


class MemoryBudget:
    """Lets threads in while the bytes that they announce fit together.

    Parameters
    ----------
    capacity_bytes : of all that are inside at once; what alone exceeds it waits until nobody else is inside.
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
