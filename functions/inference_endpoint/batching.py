"""Dynamic batching: the images of all requests wait in one queue per model, and a call takes whatever is there."""

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


class Ticket:
    """One request's embedding, float32, shape (count, d), filled as calls bring its rows."""

    def __init__(self, count: int) -> None:
        self.future: Future[Floats] = Future()
        self._count = self._left = count
        self._rows: Floats | None = None
        self._lock = threading.Lock()

    def settle(self, start: int, rows: Floats) -> None:
        """Rows of the images from ``start`` on; the last ones end the request."""
        with self._lock:
            if self._rows is None:
                self._rows = np.empty((self._count, *rows.shape[1:]), np.float32)
            self._rows[start : start + len(rows)] = rows
            self._left -= len(rows)
            done = self._left == 0
        if done:
            # Its client may have gone in this moment.
            with suppress(InvalidStateError):
                self.future.set_result(self._rows)

    def fail(self, error: Exception) -> None:
        """End the request; of several errors the first counts."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)

    @property
    def over(self) -> bool:
        """Return whether the request has ended."""
        return self.future.done()


@dataclass(frozen=True, slots=True)
class Span:
    """Neighbouring images of one request that are ready to be embedded; ``start`` is the place of the first."""

    pixels: Floats
    ticket: Ticket
    start: int
    since: float

    def cut(self, count: int) -> tuple["Span", "Span"]:
        """Views of the first ``count`` images and of the rest."""
        first, rest = self.pixels[:count], self.pixels[count:]
        return (
            Span(first, self.ticket, self.start, self.since),
            Span(rest, self.ticket, self.start + count, self.since),
        )


class Batcher:
    """Calls a model with as many waiting images as fit, in threads of its own.

    While no call is under way one starts at once. Beside running calls, another waits for images that are being
    decoded, ``max_delay_seconds`` at most; and while all are under way images gather. So batches grow with the load and
    a lone request is never delayed. Images that would fit into one call are shared out among idle calls.

    Parameters
    ----------
    run : embeds pixels (n, 3, size, size); called by ``calls`` threads.
    max_images : of one call.
    """

    def __init__(self, run: Run, max_images: int, calls: int, max_delay_seconds: float) -> None:
        self._run, self._max_images, self._delay = run, max_images, max_delay_seconds
        self._waiting: deque[Span] = deque()
        self._changed, self._coming, self._closed = threading.Condition(), 0, False
        self._idle = self._calls = calls
        self._threads = [threading.Thread(target=self._work, name="model call", daemon=True) for _ in range(calls)]
        for thread in self._threads:
            thread.start()

    def expect(self, count: int) -> Ticket:
        """A ticket for ``count`` images, each of which ``put`` or ``miss`` has to follow."""
        with self._changed:
            self._coming += count
        return Ticket(count)

    def put(self, ticket: Ticket, start: int, pixels: Floats) -> None:
        """Images of a request, shape (n, 3, size, size), whose first has the place ``start`` in it."""
        with self._changed:
            self._coming -= len(pixels)
            self._waiting.append(Span(pixels, ticket, start, time.monotonic()))
            self._changed.notify(len(pixels))

    def miss(self, ticket: Ticket, count: int, error: Exception | None) -> None:
        """Record that expected images will not arrive: they are broken, or their request was cancelled."""
        with self._changed:
            self._coming -= count
            self._changed.notify()
        if error is not None:
            ticket.fail(error)

    @property
    def depth(self) -> int:
        """Images that wait for a call."""
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
                self._embed_apart(spans)
            with self._changed:
                self._idle += 1

    def _embed(self, spans: Sequence[Span]) -> None:
        # A request that fills the call alone is not copied.
        pixels = spans[0].pixels if len(spans) == 1 else np.concatenate([span.pixels for span in spans])
        rows, position = self._run(pixels), 0
        for span in spans:
            end = position + len(span.pixels)
            span.ticket.settle(span.start, rows[position:end])
            position = end

    def _embed_apart(self, spans: Sequence[Span]) -> None:
        """Handle a failed call so that only the faulty request fails."""
        for _, group in groupby(spans, key=lambda span: id(span.ticket)):
            own = list(group)
            try:
                self._embed(own)
            except Exception as error:
                own[0].ticket.fail(error)

    def _take(self) -> list[Span]:
        """The next call's images; none when closed."""
        with self._changed:
            while not self._closed or self._waiting:
                self._waiting = self._abandoned_removed()
                wait = self._seconds_to_wait()
                if wait == 0:
                    taken = self._cut(min(self._max_images, math.ceil(self._depth() / self._idle)))
                    self._idle -= 1
                    return taken
                self._changed.wait(wait)
        return []

    def _cut(self, count: int) -> list[Span]:
        """Remove the first ``count`` images from the queue."""
        taken = []
        while count:
            span = self._waiting.popleft()
            if len(span.pixels) > count:
                span, rest = span.cut(count)
                self._waiting.appendleft(rest)
            taken.append(span)
            count -= len(span.pixels)
        return taken

    def _abandoned_removed(self) -> deque[Span]:
        if not any(span.ticket.over for span in self._waiting):
            return self._waiting
        return deque(span for span in self._waiting if not span.ticket.over)

    def _seconds_to_wait(self) -> float | None:
        """Return the seconds until a call should start; None to wait for a change."""
        if not self._waiting:
            return None
        lone, full = self._idle == self._calls, self._depth() >= self._max_images
        if self._closed or lone or full or not self._coming:
            return 0
        return max(0.0, self._waiting[0].since + self._delay - time.monotonic())

    def _depth(self) -> int:
        return sum(len(span.pixels) for span in self._waiting)
