"""Admission control: limit requests, images and bytes in flight, and reject the rest at once."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Busy(Exception):
    """The limits are reached; ``retry_after_seconds`` estimates when capacity is free."""

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Place:
    """A request's share of the limits."""

    def __init__(self, gate: "Gate", size: int) -> None:
        # Until its images are counted a request counts as one: what is being read is bounded too.
        self._gate, self.size, self.images = gate, size, 1

    def take(self, images: int) -> None:
        """Reserve images once their number is known. Raises ``Busy``, unless nothing else is in flight."""
        self._gate.check(images, self.images)
        self._gate.images += images - self.images
        self.images = images


class Gate:
    """Lives on one event loop, which alone counts; no lock is needed.

    Attributes
    ----------
    requests, images, size : under way; ``size`` in bytes of bodies.
    """

    def __init__(self, max_images: int, max_bytes: int) -> None:
        self._max_images, self._max_bytes = max_images, max_bytes
        self.requests = self.images = self.size = 0
        self._seconds_per_image = 0.01

    @contextmanager
    def request(self, size: int) -> Iterator[Place]:
        """Reserve a request before its body of ``size`` bytes is read: rejections are cheap. Raises ``Busy``."""
        self.check(1)
        if self.size and self.size + size > self._max_bytes:
            raise self._busy("too many bytes are under way")
        place, started = Place(self, size), time.monotonic()
        self.requests, self.size, self.images = self.requests + 1, self.size + size, self.images + place.images
        try:
            yield place
            self._learn(time.monotonic() - started)
        finally:
            self.requests, self.size, self.images = self.requests - 1, self.size - size, self.images - place.images

    def check(self, images: int, held: int = 0) -> None:
        """Raise ``Busy`` when so many do not fit beside those in flight, ``held`` of which are the caller's."""
        others = self.images - held
        if others and others + images > self._max_images:
            raise self._busy("the queue is full")

    def _busy(self, message: str) -> Busy:
        return Busy(message, max(1, min(60, math.ceil(self.images * self._seconds_per_image))))

    def _learn(self, seconds: float) -> None:
        """Update the moving average of the seconds per image."""
        self._seconds_per_image += 0.1 * (seconds / self.images - self._seconds_per_image)
