"""Dynamic batching: images of all requests wait in one queue per model, and a call takes all that wait."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

type Floats = npt.NDArray[np.float32]
type Run = Callable[[Floats], Floats]


class TimedFuture(Future[Floats]):
    """An embedding, and how long its slowest image took in each step: ``decode``, ``queue``, ``run``, in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, float] = {}

    def note(self, step: str, seconds: float) -> None:
        self.seconds[step] = max(seconds, self.seconds.get(step, 0.0))


class Ticket:
    """A request's future embedding, float32, shape (count, d); several calls may contribute its rows."""

    def __init__(self, count: int) -> None:
        self.future = TimedFuture()
        self._count = self._missing = count
        self._rows: Floats | None = None
        self._lock = threading.Lock()

    def set_rows(self, start: int, rows: Floats) -> None:
        """Store the rows of the images from ``start`` on; the last missing ones complete the request."""
        with self._lock:
            if self._rows is None:
                self._rows = np.empty((self._count, *rows.shape[1:]), np.float32)
            self._rows[start : start + len(rows)] = rows
            self._missing -= len(rows)
            complete = self._missing == 0
        if complete:
            # The client may have cancelled the request meanwhile.
            with suppress(InvalidStateError):
                self.future.set_result(self._rows)

    def fail(self, error: Exception) -> None:
        """End the request with an error; the first of several errors counts."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)

    @property
    def ended(self) -> bool:
        """Return whether the request has ended."""
        return self.future.done()


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive decoded images of one request.

    Attributes
    ----------
    start : position of the first image in the request.
    queued_at : time by the monotonic clock.
    """

    pixels: Floats
    ticket: Ticket
    start: int
    queued_at: float

    def split(self, count: int) -> tuple["Span", "Span"]:
        """Return views of the first ``count`` images and of the rest."""
        first, rest = self.pixels[:count], self.pixels[count:]
        return (
            Span(first, self.ticket, self.start, self.queued_at),
            Span(rest, self.ticket, self.start + count, self.queued_at),
        )


class Batcher:
    """Call a model with as many waiting images as fit, in background threads.

    If no call is running, one starts at once, so a single request is never delayed. If some are running, the next one
    waits for images that are being decoded, at most ``max_delay_seconds``. If all are running, images wait, so batches
    grow with the load. Images that would fit into one call are divided among the idle calls.

    Parameters
    ----------
    run : embeds pixels (n, 3, size, size); ``calls`` threads call it.
    max_images : maximum number of images of a call.
    calls : number of calls that may run in parallel.
    """

    def __init__(self, run: Run, max_images: int, calls: int, max_delay_seconds: float) -> None:
        self._run, self._max_images, self._delay = run, max_images, max_delay_seconds
        self._waiting: deque[Span] = deque()
        self._changed, self._expected, self._closed = threading.Condition(), 0, False
        self._idle = self._calls = calls
        self._threads = [threading.Thread(target=self._work, name="model call", daemon=True) for _ in range(calls)]
        for thread in self._threads:
            thread.start()

    def expect(self, count: int) -> Ticket:
        """Return a ticket for ``count`` images; the caller must then call ``put`` or ``miss`` for each of them."""
        with self._changed:
            self._expected += count
        return Ticket(count)

    def put(self, ticket: Ticket, start: int, pixels: Floats) -> None:
        """Queue images of a request, shape (n, 3, size, size), the first of which is its image ``start``."""
        with self._changed:
            self._expected -= len(pixels)
            self._waiting.append(Span(pixels, ticket, start, time.monotonic()))
            self._changed.notify(len(pixels))

    def miss(self, ticket: Ticket, count: int, error: Exception | None) -> None:
        """Record that expected images will not arrive: they are broken, or their request was cancelled."""
        with self._changed:
            self._expected -= count
            self._changed.notify()
        if error is not None:
            ticket.fail(error)

    @property
    def depth(self) -> int:
        """Number of images that wait for a call."""
        with self._changed:
            return self._depth()

    def close(self) -> None:
        """End the threads when the queue is empty."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while spans := self._take():
            try:
                self._embed(spans)
            except Exception:
                self._embed_separately(spans)
            with self._changed:
                self._idle += 1

    def _embed(self, spans: Sequence[Span]) -> None:
        # The images of a single span are not copied.
        pixels = spans[0].pixels if len(spans) == 1 else np.concatenate([span.pixels for span in spans])
        started = time.monotonic()
        rows, position = self._run(pixels), 0
        seconds = time.monotonic() - started
        for span in spans:
            end = position + len(span.pixels)
            span.ticket.future.note("queue", started - span.queued_at)
            span.ticket.future.note("run", seconds)
            span.ticket.set_rows(span.start, rows[position:end])
            position = end

    def _embed_separately(self, spans: Sequence[Span]) -> None:
        """Repeat a failed call per request, so that only the faulty request fails."""
        for _, group in groupby(spans, key=lambda span: id(span.ticket)):
            request = list(group)
            try:
                self._embed(request)
            except Exception as error:
                request[0].ticket.fail(error)

    def _take(self) -> list[Span]:
        """Wait for and return the next call's images; none when the batcher is closed."""
        with self._changed:
            while not self._closed or self._waiting:
                self._drop_ended_requests()
                wait = self._seconds_to_wait()
                if wait == 0:
                    spans = self._dequeue(min(self._max_images, math.ceil(self._depth() / self._idle)))
                    self._idle -= 1
                    return spans
                self._changed.wait(wait)
        return []

    def _dequeue(self, count: int) -> list[Span]:
        """Remove the first ``count`` images from the queue and return them."""
        spans = []
        while count:
            span = self._waiting.popleft()
            if len(span.pixels) > count:
                span, rest = span.split(count)
                self._waiting.appendleft(rest)
            spans.append(span)
            count -= len(span.pixels)
        return spans

    def _drop_ended_requests(self) -> None:
        if any(span.ticket.ended for span in self._waiting):
            self._waiting = deque(span for span in self._waiting if not span.ticket.ended)

    def _seconds_to_wait(self) -> float | None:
        """Return the seconds until a call should start; None if no image waits."""
        if not self._waiting:
            return None
        all_idle, full = self._idle == self._calls, self._depth() >= self._max_images
        if self._closed or all_idle or full or not self._expected:
            return 0
        return max(0.0, self._waiting[0].queued_at + self._delay - time.monotonic())

    def _depth(self) -> int:
        return sum(len(span.pixels) for span in self._waiting)
