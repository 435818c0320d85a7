"""Records of a Kafka batch are committed, retried or given up after an invocation."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.runner.batches import Batch, Decision, Policy, backoff_seconds, committable, decide, first_failures

NOW = 1_000_000_000


@dataclass(frozen=True)
class Record:
    topic_partition: str
    offset: int
    timestamp_ms: int = NOW


def records(*names: str) -> tuple[Record, ...]:
    """Return records by short names; ``a3`` is offset 3 of partition t-a."""
    return tuple(Record(f"t-{name[0]}", int(name[1:])) for name in names)


def failures(*names: str) -> dict[str, Any]:
    return {
        "batchItemFailures": [
            {"itemIdentifier": {"partition": record.topic_partition, "offset": record.offset}}
            for record in records(*names)
        ]
    }


FOR_EVER = Policy(partial=True, bisect=False, max_retry_attempts=-1, max_record_age_seconds=-1)
TWICE = Policy(partial=True, bisect=False, max_retry_attempts=2, max_record_age_seconds=-1)
SPLIT = Policy(partial=True, bisect=True, max_retry_attempts=2, max_record_age_seconds=-1)
PLAIN = Policy(partial=False, bisect=False, max_retry_attempts=-1, max_record_age_seconds=-1)
A5 = records("a1", "a2", "a3", "a4", "a5")
MIXED = records("a1", "a2", "b7", "b8", "c1")
DONE = Decision[Record]()


def again(*batches: tuple[tuple[Record, ...], int]) -> Decision[Record]:
    return Decision(retries=tuple(Batch(*batch) for batch in batches))


@pytest.mark.parametrize("answer", [None, {}, "", {"batchItemFailures": []}, {"batchItemFailures": None}])
def test_a_response_without_failures_is_a_success(answer: Any) -> None:
    assert decide(Batch(A5), False, answer, FOR_EVER, NOW) == DONE


@pytest.mark.parametrize(
    ("batch", "answer", "expected"),
    [
        (A5, failures("a1"), again((A5, 1))),
        (A5, failures("a4"), again((A5[3:], 1))),
        (A5, failures("a5", "a3"), again((A5[2:], 1))),
        (MIXED, failures("b8"), again((records("b8"), 1))),
        (MIXED, failures("a2", "c1"), again((records("a2", "c1"), 1))),
    ],
)
def test_records_are_retried_from_the_first_failed_offset_of_each_partition(
    batch: tuple[Record, ...], answer: Any, expected: Decision[Record]
) -> None:
    assert decide(Batch(batch), False, answer, FOR_EVER, NOW) == expected


@pytest.mark.parametrize(
    "answer",
    [
        failures("a9"),
        failures("b1"),
        {"batchItemFailures": [{"itemIdentifier": ""}]},
        {"batchItemFailures": [{"itemIdentifier": None}]},
        {"batchItemFailures": [{"wrong": {"partition": "t-a", "offset": 1}}]},
        {"batchItemFailures": [{"itemIdentifier": {"partition": ["t-a"], "offset": 1}}]},
        {"batchItemFailures": [{"itemIdentifier": {"partition": "t-a", "offset": "one"}}]},
        {"batchItemFailures": [{"itemIdentifier": {"partition": "t-a", "offset": float("inf")}}]},
        {"batchItemFailures": 7},
        {"statusCode": 200},
        "done",
        [1],
    ],
)
def test_an_invalid_response_fails_the_whole_batch(answer: Any) -> None:
    assert first_failures(A5, answer) is None
    assert decide(Batch(A5), False, answer, FOR_EVER, NOW) == again((A5, 1))


def test_responses_are_ignored_without_partial_batch_responses() -> None:
    assert decide(Batch(A5), False, failures("a1"), PLAIN, NOW) == DONE
    assert decide(Batch(A5), True, None, PLAIN, NOW) == again((A5, 1))


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (Batch(A5), again((A5[:2], 0), (A5[2:], 0))),
        (Batch(A5[:2], 1), again((A5[:1], 1), (A5[1:2], 1))),
        (Batch(A5[:1]), again((A5[:1], 1))),
        (Batch(A5[:1], 1), again((A5[:1], 2))),
        (Batch(A5[:1], 2), Decision(given_up=A5[:1])),
    ],
)
def test_a_failing_batch_is_bisected_until_the_poison_record_is_alone(
    batch: Batch[Record], expected: Decision[Record]
) -> None:
    assert decide(batch, True, None, SPLIT, NOW) == expected


@pytest.mark.parametrize(
    ("attempts", "expected"), [(0, again((A5, 1))), (1, again((A5, 2))), (2, Decision(given_up=A5))]
)
def test_without_bisecting_a_batch_is_retried_twice_then_given_up(attempts: int, expected: Decision[Record]) -> None:
    assert decide(Batch(A5, attempts), True, None, TWICE, NOW) == expected


def test_progress_resets_the_attempts_of_the_rest() -> None:
    assert decide(Batch(A5, 2), False, failures("a3"), TWICE, NOW) == again((A5[2:], 1))


def test_records_above_the_maximum_age_are_given_up_and_the_others_are_retried() -> None:
    old, young = Record("t-a", 1, NOW - 61_000), Record("t-a", 2, NOW - 59_000)
    policy = Policy(partial=True, bisect=True, max_retry_attempts=-1, max_record_age_seconds=60)
    assert decide(Batch((old, young)), True, None, policy, NOW) == Decision((Batch((young,), 1),), (old,))
    assert decide(Batch((old,)), True, None, policy, NOW) == Decision(given_up=(old,))
    assert decide(Batch((old,)), False, None, policy, NOW) == DONE


@pytest.mark.parametrize(
    ("batch", "still_open", "expected"),
    [
        (A5, [], {"t-a": 6}),
        (A5, [A5[2:]], {"t-a": 3}),
        (A5, [A5], {}),
        (A5, [A5[4:], A5[1:3]], {"t-a": 2}),
        (MIXED, [records("b8")], {"t-a": 3, "t-b": 8, "t-c": 2}),
    ],
)
def test_a_commit_never_skips_an_unfinished_record(
    batch: tuple[Record, ...], still_open: list[tuple[Record, ...]], expected: dict[str, int]
) -> None:
    assert committable(batch, [Batch(batch) for batch in still_open]) == expected


def test_pauses_grow_and_stay_below_five_seconds() -> None:
    pauses = [backoff_seconds(attempts) for attempts in range(1, 2000)]
    assert pauses[:3] == [0.2, 0.4, 0.8]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 5.0


@given(
    poison=st.sets(st.integers(0, 30)),
    size=st.integers(1, 31),
    attempts=st.integers(0, 3),
    reports=st.booleans(),
)
def test_every_record_succeeds_or_is_given_up_and_only_poison_is_given_up(
    poison: set[int], size: int, attempts: int, reports: bool
) -> None:
    policy = Policy(partial=True, bisect=True, max_retry_attempts=attempts, max_record_age_seconds=-1)
    batches, done, given_up = [Batch(tuple(Record("t-0", n) for n in range(size)))], set(), set()
    for _ in range(10_000):
        if not batches:
            break
        batch = batches.pop(0)
        bad = [record for record in batch.records if record.offset in poison]
        raised = bool(bad) and not (reports and len(batch.records) > 1)
        answer = failures(f"0{bad[0].offset}") if bad else None
        decision = decide(batch, raised, answer, policy, NOW)
        batches = [*decision.retries, *batches]
        given_up |= {record.offset for record in decision.given_up}
        still = {record.offset for batch in decision.retries for record in batch.records}
        done |= {record.offset for record in batch.records} - still - given_up
    assert not batches
    assert done | given_up == set(range(size))
    if not reports:
        assert given_up == poison & set(range(size))
    assert not done & poison
