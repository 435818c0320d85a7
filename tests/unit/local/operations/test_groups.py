"""How far a group is behind, and where a reset lets it continue."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from local.operations.groups import GroupPosition, Groups, GroupState, Target, offset_for, target_of
from local.services import ServiceFailed

SINCE = datetime(2026, 1, 14, 10, 30, tzinfo=UTC)


def position(committed: int | None, first: int = 10, following: int = 50) -> GroupPosition:
    return GroupPosition("t", 0, committed, first, following)


@pytest.mark.parametrize(
    ("committed", "lag"),
    # An offset before the first record has lost records to the retention; one behind the end follows a recreation.
    [(None, 40), (10, 40), (30, 20), (50, 0), (3, 40), (99, 0)],
)
def test_lag_counts_records_that_the_topic_has(committed: int | None, lag: int) -> None:
    assert position(committed).lag == lag


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("earliest", "earliest"),
        ("latest", "latest"),
        ("0", 0),
        ("1200", 1200),
        ("2026-01-14T10:30:00Z", SINCE),
        ("2026-01-14T10:30:00", SINCE),
        ("2026-01-14T12:30:00+02:00", SINCE),
        ("2026-01-14", datetime(2026, 1, 14, tzinfo=UTC)),
    ],
)
def test_a_place_to_continue_is_an_end_an_offset_or_a_time(text: str, target: Target) -> None:
    assert target_of(text) == target


@pytest.mark.parametrize("text", ["", "yesterday", "-5", "1e3", "2026-13-01", "9" * 40, "EARLIEST"])
def test_another_place_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ServiceFailed, match="Give earliest, latest, an offset"):
        target_of(text)


@pytest.mark.parametrize(
    ("target", "found", "offset"),
    [
        ("earliest", -1, 10),
        ("latest", -1, 50),
        (30, -1, 30),
        (3, -1, 10),
        (99, -1, 50),
        (SINCE, 17, 17),
        (SINCE, -1, 50),
    ],
)
def test_a_reset_stays_within_the_partition(target: Target, found: int, offset: int) -> None:
    assert offset_for(position(20), target, found) == offset


def group(*positions: GroupPosition, active: bool = False) -> GroupState:
    return GroupState("g", "stable" if active else "empty", active, int(active), positions)


def test_an_active_group_is_not_reset() -> None:
    broker: Any = SimpleNamespace(client=None)
    with pytest.raises(ServiceFailed, match=r"g is active \(stable, 1 members\).*Stop them first"):
        Groups(broker).plan(group(position(20), active=True), "earliest")


def test_a_reset_may_be_of_one_topic_and_partition() -> None:
    broker: Any = SimpleNamespace(client=None)
    found = group(GroupPosition("a", 0, 20, 10, 50), GroupPosition("a", 1, None, 0, 5), GroupPosition("b", 0, 1, 0, 9))
    plan = Groups(broker).plan

    moves = [(move.topic, move.partition, move.before, move.after) for move in plan(found, "latest")]
    assert moves == [("a", 0, 20, 50), ("a", 1, 0, 5), ("b", 0, 1, 9)]
    assert [move.partition for move in plan(found, "latest", topic="a")] == [0, 1]
    assert [move.topic for move in plan(found, "latest", partition=1)] == ["a"]
    with pytest.raises(ServiceFailed, match="no offsets there"):
        plan(found, "latest", topic="c")
