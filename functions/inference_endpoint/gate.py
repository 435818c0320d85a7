"""Admission: a few requests compute, a bounded number wait, the rest are turned away at once."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class Busy(Exception):
    """As many requests wait as may."""


class Gate:
    """Runs blocking work in ``at_once`` threads while up to ``waiting`` more requests queue.

    Lives on one event loop, which alone counts; no lock is needed.
    """

    def __init__(self, at_once: int, waiting: int) -> None:
        self._places, self._taken = at_once + waiting, 0
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="request")

    def check(self) -> None:
        """Raise ``Busy`` when no place is free: before a body is read, since a refusal must cost little."""
        if self._taken >= self._places:
            raise Busy("the queue is full")

    async def run[T](self, work: Callable[[], T]) -> T:
        """What ``work`` returns. Raises ``Busy``."""
        self.check()
        self._taken += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._taken -= 1
