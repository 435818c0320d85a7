"""Measurements: added up until an invocation ends, and never more than a process can hold."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from deeplens.telemetry import instruments as of
from deeplens.telemetry import metrics, tracing
from deeplens.telemetry.context import SpanContext
from deeplens.telemetry.metrics import MAX_SERIES, MAX_VALUES, Meter, Point, record, timed

SPAN, OTHER_SPAN = SpanContext("a" * 32, "1" * 16), SpanContext("b" * 32, "2" * 16)


class Exported:
    def __init__(self) -> None:
        self.flushes: list[tuple[list[Point], int, int]] = []

    def __call__(self, points: Sequence[Point], since: int, until: int, /) -> None:
        self.flushes.append((list(points), since, until))

    def only(self) -> Point:
        ((points, _, _),) = self.flushes
        (point,) = points
        return point


@pytest.fixture
def exported() -> Iterator[Exported]:
    exported, clock = Exported(), iter(range(10, 1000, 10))
    metrics.configure(Meter([exported], now=lambda: next(clock)))
    yield exported
    metrics.configure(None)


def test_series_are_added_up_until_the_invocation_ends(exported: Exported) -> None:
    for _ in range(3):
        record(of.SENT, 2, topic="t")
    record(of.SENT, topic="t", error="undelivered")
    record(of.PENDING_AGE, 7)
    record(of.PENDING_AGE, 5)
    record(of.IMAGE_DURATION, 1.5)
    record(of.IMAGE_DURATION, 2.5)
    metrics.flush()
    metrics.flush()
    record(of.PENDING_AGE, 1)
    metrics.flush()

    (points, since, until), (_, next_since, _) = exported.flushes
    assert [(point.labels, point.value, point.values) for point in points] == [
        (("t", ""), 6, []),
        (("t", "undelivered"), 1, []),
        ((), 5, []),
        ((), 0, [1.5, 2.5]),
    ]
    assert since < until == next_since


def test_with_an_interval_several_invocations_are_exported_at_once() -> None:
    exported, arrived = Exported(), threading.Event()

    def export(points: Sequence[Point], since: int, until: int, /) -> None:
        exported(points, since, until)
        arrived.set()

    meter = Meter([export], interval_seconds=0.2)
    for _ in range(3):
        meter.record(of.SENT, 1, {"topic": "t"})
        meter.flush()
    assert exported.flushes == []
    assert arrived.wait(10)
    assert exported.only().value == 3


def test_nothing_is_recorded_before_it_is_switched_on() -> None:
    record(of.SENT, topic="t")
    with timed("index"):
        metrics.flush()


def test_threads_lose_nothing(exported: Exported) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: record(of.SENT, topic="t"), range(4000)))
    metrics.flush()
    assert exported.only().value == 4000


def test_without_a_collector_only_what_cloudwatch_takes_is_kept() -> None:
    exported = Exported()
    metrics.configure(Meter([exported], only_cloudwatch=True))
    record(of.BATCH_SIZE, 3, stage="index")
    record(of.CONSUMED, 3, topic="t", stage="index", outcome="done")
    metrics.flush()
    metrics.configure(None)
    assert exported.only().instrument is of.CONSUMED


def test_a_process_keeps_a_bounded_number_of_series_and_values(exported: Exported) -> None:
    for number in range(MAX_SERIES + 5):
        record(of.SENT, topic=f"t{number}")
    record(of.SENT, topic="t1")
    metrics.flush()
    assert len(exported.flushes[0][0]) == MAX_SERIES
    for _ in range(MAX_VALUES + 5):
        record(of.IMAGE_DURATION, 1)
    metrics.flush()
    assert len(exported.flushes[1][0][0].values) == MAX_VALUES


def test_a_histogram_remembers_a_span_that_a_value_belongs_to_alone(exported: Exported) -> None:
    with tracing.inside((SPAN,)):
        record(of.IMAGE_DURATION, 1.0)
    with tracing.inside((SPAN, OTHER_SPAN)):
        record(of.IMAGE_DURATION, 2.0)
    metrics.flush()
    assert exported.only().exemplar == (1.0, SPAN)


def test_a_call_is_timed_with_its_error(exported: Exported) -> None:
    with timed("index"):
        pass
    with pytest.raises(KeyError), timed("index"):
        raise KeyError
    metrics.flush()
    (fine, failed), _, _ = exported.flushes[0]
    assert (fine.labels, failed.labels) == (("index", ""), ("index", "KeyError"))
    assert 0 <= fine.values[0] < 1
