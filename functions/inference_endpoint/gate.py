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


class Reservation:
    """A request's share of the limits."""

    def __init__(self, gate: "Gate", size: int) -> None:
        # A request counts as one image until its images are counted, which limits requests whose body is being read.
        self._gate, self.size, self.images = gate, size, 1

    def set_images(self, images: int) -> None:
        """Reserve the request's images once their number is known.

        Raises ``Busy`` if they exceed the limit and other requests are in flight.
        """
        self._gate.check(images, self.images)
        self._gate.images += images - self.images
        self.images = images


class Gate:
    """Count requests in flight. It needs no lock, because only one event loop uses it.

    Attributes
    ----------
    requests, images, size : numbers of requests and images in flight, and bytes of their bodies.
    """

    def __init__(self, max_images: int, max_bytes: int) -> None:
        self._max_images, self._max_bytes = max_images, max_bytes
        self.requests = self.images = self.size = 0
        self._seconds_per_image = 0.01

    @contextmanager
    def request(self, size: int) -> Iterator[Reservation]:
        """Reserve a request before its body of ``size`` bytes is read, to reject it cheaply. Raises ``Busy``."""
        self.check(1)
        if self.size and self.size + size > self._max_bytes:
            raise self._busy("too many bytes are in flight")
        reservation, started = Reservation(self, size), time.monotonic()
        self._add(1, size, reservation.images)
        try:
            yield reservation
            self._update_average(time.monotonic() - started)
        finally:
            self._add(-1, -size, -reservation.images)

    def _add(self, requests: int, size: int, images: int) -> None:
        self.requests += requests
        self.size += size
        self.images += images

    def check(self, images: int, reserved: int = 0) -> None:
        """Raise ``Busy`` if the images do not fit beside those in flight, ``reserved`` of which are the caller's."""
        others = self.images - reserved
        if others and others + images > self._max_images:
            raise self._busy("the queue is full")

    def _busy(self, message: str) -> Busy:
        return Busy(message, max(1, min(60, math.ceil(self.images * self._seconds_per_image))))

    def _update_average(self, seconds: float) -> None:
        """Update the moving average of the seconds per image."""
        self._seconds_per_image += 0.1 * (seconds / self.images - self._seconds_per_image)
