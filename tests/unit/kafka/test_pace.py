"""A batch stops before its invocation ends, and gets somewhere each time."""

from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from deeplens.common.event import Event
from deeplens.common.stage import Done, Outcome
from deeplens.events.usage import TenantUsage
from deeplens.kafka.handler import BatchHandler
from deeplens.kafka.pace import RESERVE_SECONDS, Pace, affordable

from tests.harness.api import RecordingPublisher

USAGE = b64encode(
    b'{"tenantId": "tenant_a", "metric": "m", "quantity": 1, "unit": "u", "occurredAt": "2026-01-01T00:00:00Z"}'
).decode()
INFINITE = float("inf")


@pytest.mark.parametrize(
    ("remaining", "seconds_per_record", "count", "expected"),
    [
        (INFINITE, 0, 100, 100),
        (INFINITE, 60, 100, 100),
        (300, 0, 100, 100),
        (RESERVE_SECONDS + 100, 1, 100, 50),
        (RESERVE_SECONDS + 100, 0.01, 100, 100),
        (RESERVE_SECONDS + 100, 60, 100, 0),
        (RESERVE_SECONDS + 1, 0.4, 100, 1),
        (RESERVE_SECONDS, 0, 100, 0),
        (0, 0, 100, 0),
        (-5, 1, 100, 0),
    ],
)
def test_affordable(remaining: float, seconds_per_record: float, count: int, expected: int) -> None:
    assert affordable(remaining, seconds_per_record, count) == expected


class Clock:
    """Time that passes only while work is done."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Slow:
    """A stage whose records take ``seconds`` each; ``broken`` batches break as a whole."""

    name: ClassVar = "slow"
    consumes: ClassVar = TenantUsage

    def __init__(self, clock: Clock, seconds: float, *, broken: bool = False) -> None:
        self._clock, self._seconds, self._broken = clock, seconds, broken
        self.batches: list[int] = []

    def __call__(self, batch: Sequence[Event]) -> list[Outcome]:
        self._clock.seconds += self._seconds * len(batch)
        if self._broken and len(batch) > 1:
            raise ZeroDivisionError
        self.batches.append(len(batch))
        return [Done()] * len(batch)


def invoke(handler: BatchHandler, clock: Clock, offsets: range, timeout_seconds: float) -> list[dict[str, Any]]:
    ends = clock.seconds + timeout_seconds
    records = [{"topic": "t", "partition": 0, "offset": offset, "value": USAGE, "headers": []} for offset in offsets]
    answer = handler({"records": {"t-0": records}}, lambda *_: None, lambda: int((ends - clock.seconds) * 1000))
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


def handler_of(stage: Slow, clock: Clock) -> BatchHandler:
    handler = BatchHandler(stage, RecordingPublisher(), SimpleNamespace(now=lambda: datetime(2026, 1, 1, tzinfo=UTC)))
    handler._pace = Pace(clock)
    return handler


def test_a_batch_is_worked_at_once_while_its_records_are_quick() -> None:
    clock = Clock()
    stage = Slow(clock, 0.1)
    handler = handler_of(stage, clock)

    assert [invoke(handler, clock, range(100), 120) for _ in range(3)] == [[], [], []]
    assert stage.batches == [100, 100, 100]


def test_slow_records_are_left_for_the_next_invocation_before_time_is_up() -> None:
    clock = Clock()
    stage = Slow(clock, 5)
    handler = handler_of(stage, clock)
    invoke(handler, clock, range(2), 120)

    started = clock.seconds
    (failed,) = invoke(handler, clock, range(100), 120)

    assert failed == {"partition": "t-0", "offset": sum(stage.batches[1:])}
    assert 50 < clock.seconds - started < 120 - RESERVE_SECONDS
    assert stage.batches[1] == 10


def test_every_invocation_finishes_something_however_slow_its_records_are() -> None:
    clock = Clock()
    stage = Slow(clock, 500)
    handler = handler_of(stage, clock)
    left, invocations = range(5), 0
    while left:
        failed = invoke(handler, clock, left, 120)
        left = range(failed[0]["offset"], 5) if failed else range(0)
        invocations += 1

    assert invocations <= 5
    assert sum(stage.batches) == 5


def test_a_batch_that_breaks_as_a_whole_is_worked_one_by_one_while_there_is_time() -> None:
    clock = Clock()
    stage = Slow(clock, 5, broken=True)
    handler = handler_of(stage, clock)

    (failed,) = invoke(handler, clock, range(12), 120)
    assert 1 < failed["offset"] < 12
    assert len(stage.batches) == failed["offset"]


def test_one_by_one_the_first_is_worked_even_when_the_batch_has_used_all_time() -> None:
    clock = Clock()
    stage = Slow(clock, 50, broken=True)
    assert invoke(handler_of(stage, clock), clock, range(4), 120) == [{"partition": "t-0", "offset": 1}]


def test_records_behind_the_last_worked_one_come_again_in_every_partition() -> None:
    clock = Clock()
    stage = Slow(clock, 40)
    handler = handler_of(stage, clock)
    invoke(handler, clock, range(1), 120)
    record = {"topic": "t", "value": USAGE, "headers": []}
    event = {"records": {f"t-{p}": [record | {"partition": p, "offset": o} for o in (5, 6)] for p in range(2)}}
    ends = clock.seconds + 120
    answer = handler(event, lambda *_: None, lambda: int((ends - clock.seconds) * 1000))

    assert [failure["itemIdentifier"] for failure in answer["batchItemFailures"]] == [
        {"partition": "t-0", "offset": 6},
        {"partition": "t-1", "offset": 5},
    ]
