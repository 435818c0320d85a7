"""What operators rely on in ``DeadLetters``, of the fake as of PostgreSQL."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from deeplens.database.connections import Connections
from deeplens.events.failures import SourceRecord
from deeplens.failures.model import DeadLetterEntry, DeadLetterFilter, DeadLetterGroup, DeadLetters
from deeplens.failures.postgres import PostgresDeadLetters

from tests.fakes.failures import FakeDeadLetters

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
ALL = DeadLetterFilter()


@pytest.fixture(params=["fake", "postgres"])
def letters(request: pytest.FixtureRequest) -> Iterator[DeadLetters]:
    if request.param == "fake":
        yield FakeDeadLetters()
        return
    connections: Connections = request.getfixturevalue("connections")
    with connections.platform() as connection:
        connection.execute("TRUNCATE dead_letters")
    yield PostgresDeadLetters(connections)


def letter(letter_id: str, minutes: int = 0, **changes: Any) -> DeadLetterEntry:
    values = {
        "tenant_id": "tenant_a",
        "image_id": "img_a",
        "stage": "index",
        "error_code": "MODEL_MISMATCH",
        "error_message": "512 is not 768",
        "attempt": 1,
        "failed_at": NOON + timedelta(minutes=minutes),
        "source": SourceRecord(topic="deeplens.vectors.indexing", partition=1, offset=1 << 40, value="eyJ9", replays=2),
    }
    return DeadLetterEntry(id=letter_id, **{**values, **changes})


def ids(letters: DeadLetters, where: DeadLetterFilter = ALL, limit: int = 100) -> list[str]:
    return [letter.id for letter in letters.page(where, None, limit)]


def test_a_letter_is_found_as_it_was_stored(letters: DeadLetters) -> None:
    letters.store([letter("dlq_1"), letter("dlq_2", source=None, tenant_id=None, image_id=None, stage=None)])
    letters.store([letter("dlq_1", error_message="another")])

    second, first = letters.page(ALL, None, 10)
    assert (first, first.state, first.replays_in_all) == (letter("dlq_1"), "open", 2)
    assert (second.source, second.stage, second.settled_at) == (None, None, None)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (ALL, ["dlq_4", "dlq_3", "dlq_2", "dlq_1"]),
        (DeadLetterFilter(ids=("dlq_1", "dlq_3", "dlq_none")), ["dlq_3", "dlq_1"]),
        (DeadLetterFilter(tenant_id="tenant_b"), ["dlq_2"]),
        (DeadLetterFilter(code="STAGE_FAILED"), ["dlq_3"]),
        (DeadLetterFilter(stage="extract"), ["dlq_4"]),
        (DeadLetterFilter(state="open"), ["dlq_4", "dlq_3"]),
        (DeadLetterFilter(state="replayed"), ["dlq_1"]),
        (DeadLetterFilter(state="discarded"), ["dlq_2"]),
        (DeadLetterFilter(failed_from=NOON + timedelta(minutes=3)), ["dlq_4", "dlq_3"]),
        (DeadLetterFilter(failed_before=NOON + timedelta(minutes=3)), ["dlq_2", "dlq_1"]),
        (DeadLetterFilter(tenant_id="tenant_a", state="open", code="STAGE_FAILED", stage="index"), ["dlq_3"]),
    ],
    ids=str,
)
def test_letters_are_narrowed_by_every_filter(
    letters: DeadLetters, where: DeadLetterFilter, expected: list[str]
) -> None:
    letters.store(
        [
            letter("dlq_1", 1),
            letter("dlq_2", 2, tenant_id="tenant_b"),
            letter("dlq_3", 3, error_code="STAGE_FAILED"),
            letter("dlq_4", 4, stage="extract"),
        ]
    )
    letters.mark_replayed(["dlq_1"], NOON)
    letters.discard("dlq_2", "test", NOON)
    assert ids(letters, where) == expected
    assert ids(letters, where, limit=1) == expected[:1]


def test_pages_follow_each_other_although_times_are_equal(letters: DeadLetters) -> None:
    letters.store([letter(f"dlq_{n}", n // 4) for n in range(10)])
    seen, after = list[str](), None
    while page := letters.page(ALL, after, 3):
        seen += [one.id for one in page]
        after = (page[-1].failed_at, page[-1].id)
    assert seen == [f"dlq_{n}" for n in (9, 8, 7, 6, 5, 4, 3, 2, 1, 0)]


def test_groups_are_counted_with_their_times(letters: DeadLetters) -> None:
    letters.store([letter(f"dlq_{n}", n) for n in range(3)] + [letter("dlq_9", 9, error_code="X", stage=None)])
    assert letters.groups(ALL, 10) == [
        DeadLetterGroup("MODEL_MISMATCH", "index", 3, NOON, NOON + timedelta(minutes=2)),
        DeadLetterGroup("X", None, 1, NOON + timedelta(minutes=9), NOON + timedelta(minutes=9)),
    ]
    assert len(letters.groups(ALL, 1)) == 1
    assert letters.groups(DeadLetterFilter(tenant_id="tenant_none"), 10) == []


def test_each_replay_is_counted(letters: DeadLetters) -> None:
    letters.store([letter("dlq_1")])
    letters.mark_replayed(["dlq_1"], NOON)
    letters.mark_replayed(["dlq_1"], NOON + timedelta(hours=1))
    (kept,) = letters.page(ALL, None, 10)
    assert (kept.state, kept.replays, kept.replays_in_all) == ("replayed", 2, 4)
    assert kept.settled_at == NOON + timedelta(hours=1)


def test_a_retried_images_open_letters_are_settled_and_no_others(letters: DeadLetters) -> None:
    letters.store([letter("dlq_1"), letter("dlq_2"), letter("dlq_3", image_id="img_b")])
    letters.store([letter("dlq_4", tenant_id="tenant_b"), letter("dlq_5", image_id=None)])
    letters.discard("dlq_2", "why", NOON)
    letters.settle_image("tenant_a", "img_a", "retried", NOON)
    found = {letter.id: (letter.state, letter.replays, letter.reason) for letter in letters.page(ALL, None, 10)}
    assert found.pop("dlq_1") == ("replayed", 0, "retried")
    assert found.pop("dlq_2") == ("discarded", 0, "why")
    assert set(found.values()) == {("open", 0, None)}


def test_only_an_open_letter_is_discarded(letters: DeadLetters) -> None:
    letters.store([letter("dlq_1"), letter("dlq_2")])
    letters.mark_replayed(["dlq_2"], NOON)
    assert [letters.discard(letter_id, "why", NOON) for letter_id in ("dlq_1", "dlq_1", "dlq_2", "dlq_none")] == [
        True,
        False,
        False,
        False,
    ]
    assert [letter.reason for letter in letters.page(ALL, None, 10)] == [None, "why"]
