"""Measurements of one invocation, exported when it ends. Until ``configure``, nothing is recorded."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from deeplens.telemetry.context import SpanContext, active
from deeplens.telemetry.instruments import DEPENDENCY_DURATION, Instrument

MAX_SERIES, MAX_VALUES = 1000, 20_000
"""Of one invocation; what is more is not recorded."""


@dataclass(slots=True, eq=False)
class Point:
    """A series since the last export.

    Attributes
    ----------
    labels : values of the instrument's labels, in their order; empty for an absent one.
    value : the sum of a counter, or the last level of a gauge.
    values : of a histogram.
    exemplar : a value of a histogram, and the span that it belongs to.
    """

    instrument: Instrument
    labels: tuple[str, ...]
    value: float = 0.0
    values: list[float] = field(default_factory=list)
    exemplar: tuple[float, SpanContext] | None = None


class Export(Protocol):
    def __call__(self, points: Sequence[Point], since: int, until: int, /) -> None:
        """Send what was recorded between two times, in nanoseconds since the epoch. Never raises."""


class Meter:
    """Adds up measurements until they are exported. Any thread may record.

    Parameters
    ----------
    only_cloudwatch : record only instruments that have a name in CloudWatch.
    interval_seconds : the least time between two exports, where a thread can export later; 0 where a process may be
        frozen after each invocation.
    """

    def __init__(
        self,
        exports: Sequence[Export],
        *,
        only_cloudwatch: bool = False,
        interval_seconds: float = 0.0,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self._exports, self._only_cloudwatch, self._now = exports, only_cloudwatch, now
        self._interval_seconds, self._waiting = interval_seconds, False
        self._points: dict[tuple[str, ...], Point] = {}
        self._values, self._since = 0, now()
        self._lock = threading.Lock()

    def record(self, instrument: Instrument, value: float, labels: dict[str, str]) -> None:
        if self._only_cloudwatch and not instrument.cloudwatch:
            return
        key = (instrument.name, *[labels.get(label.keyword, "") for label in instrument.labels])
        with self._lock:
            point = self._points.get(key) or self._new(instrument, key[1:])
            if point is None:
                return
            if instrument.kind == "counter":
                point.value += value
            elif instrument.kind == "gauge":
                point.value = value
            elif self._values < MAX_VALUES:
                self._values += 1
                point.values.append(value)
                contexts = active.get()
                if len(contexts) == 1:
                    point.exemplar = (value, contexts[0])

    def _new(self, instrument: Instrument, given: tuple[str, ...]) -> Point | None:
        """The series of checked labels; None where there are too many."""
        labels = tuple(label.checked(value) for label, value in zip(instrument.labels, given, strict=True))
        if len(self._points) >= MAX_SERIES:
            return self._points.get((instrument.name, *labels))
        return self._points.setdefault((instrument.name, *labels), Point(instrument, labels))

    def flush(self) -> None:
        """Export now, or once the interval is over."""
        if not self._interval_seconds:
            self._export()
        elif not self._waiting:
            self._waiting = True
            timer = threading.Timer(self._interval_seconds, self._export)
            timer.daemon = True
            timer.start()

    def _export(self) -> None:
        self._waiting = False
        with self._lock:
            points, self._points, self._values = list(self._points.values()), {}, 0
        if not points:
            return
        since, self._since = self._since, self._now()
        for export in self._exports:
            export(points, since, self._since)


_meter: Meter | None = None


def configure(meter: Meter | None) -> None:
    global _meter
    _meter = meter


def record(instrument: Instrument, value: float = 1, **labels: str) -> None:
    """Add to a counter, set a gauge, or add a value to a histogram; labels by their keywords."""
    if _meter is not None:
        _meter.record(instrument, value, labels)


def flush() -> None:
    """Export what was recorded. Called when an invocation ends, as its process may be frozen then."""
    if _meter is not None:
        _meter.flush()


@contextmanager
def timed(dependency: str) -> Iterator[None]:
    """Measure a call of a dependency; an exception is its error."""
    if _meter is None:
        yield
        return
    started, error = time.perf_counter(), ""
    try:
        yield
    except BaseException as raised:
        error = type(raised).__name__
        raise
    finally:
        record(DEPENDENCY_DURATION, time.perf_counter() - started, dependency=dependency, error=error)
