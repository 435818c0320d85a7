"""What accepting and completing images rely on in ``PendingImages``, of the fake as of PostgreSQL."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from deeplens.database.connections import Connections
from deeplens.events.images import ImageUploaded
from deeplens.images import postgres_pending as module
from deeplens.images.ports import PendingImages
from deeplens.images.postgres_pending import PostgresPending
from deeplens.usage.postgres import PostgresRequestCounters

from tests.fakes.db import FakePending

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
DUE = NOON + timedelta(minutes=10)
WINDOW = 3


@pytest.fixture(params=["fake", "postgres"])
def pending(request: pytest.FixtureRequest) -> PendingImages:
    if request.param == "fake":
        return FakePending(WINDOW)
    connections: Connections = request.getfixturevalue("connections")
    with connections.platform() as connection:
        connection.execute("TRUNCATE pending_images")
    return PostgresPending(connections, WINDOW)


def accepted(n: int, tenant_id: str = "tenant_a") -> ImageUploaded:
    return ImageUploaded(
        image_id=f"img_{n}",
        tenant_id=tenant_id,
        file_name="süß\x00.jpg",
        storage_path=f"nfs://{tenant_id}/images/img_{n}.jpg",
        mime_type="image/jpeg",
        size_bytes=10,
        uploaded_at=NOON,
        metadata={"tags": ["a"], "rated": 4.5},
    )


def ids(events: list[ImageUploaded]) -> list[str]:
    return [event.image_id for event in events]


def test_images_beyond_the_window_wait(pending: PendingImages) -> None:
    assert [pending.admit(accepted(n), DUE).released for n in range(5)] == [True, True, True, False, False]


def test_an_image_admitted_again_keeps_its_answer(pending: PendingImages) -> None:
    first = [pending.admit(accepted(n), DUE).released for n in range(4)]
    assert [pending.admit(accepted(n), DUE).released for n in range(4)] == first


def test_each_ended_image_releases_the_one_that_waits_longest(pending: PendingImages) -> None:
    for n in range(7):
        pending.admit(accepted(n), DUE)
    assert ids(pending.finish([("tenant_a", "img_1")], DUE)) == ["img_3"]
    assert ids(pending.finish([("tenant_a", "img_0"), ("tenant_a", "img_2")], DUE)) == ["img_4", "img_5"]
    assert ids(pending.finish([("tenant_a", "img_3")], DUE)) == ["img_6"]
    assert pending.finish([("tenant_a", "img_4")], DUE) == []


def test_what_ended_before_it_was_released_is_forgotten_too(pending: PendingImages) -> None:
    for n in range(5):
        pending.admit(accepted(n), DUE)
    assert pending.finish([("tenant_a", "img_3")], DUE) == []
    assert ids(pending.finish([("tenant_a", "img_0")], DUE)) == ["img_4"]


def test_finishing_an_image_twice_or_an_unknown_one_is_fine(pending: PendingImages) -> None:
    pending.admit(accepted(0), DUE)
    for _ in range(2):
        assert pending.finish([("tenant_a", "img_0"), ("tenant_unknown", "img_9")], DUE) == []
    assert pending.finish([], DUE) == []


def test_a_busy_tenant_leaves_the_window_of_others_alone(pending: PendingImages) -> None:
    for n in range(6):
        pending.admit(accepted(n), DUE)
    assert [pending.admit(accepted(n, "tenant_b"), DUE).released for n in range(4)] == [True, True, True, False]
    both = pending.finish([("tenant_b", "img_0"), ("tenant_a", "img_0")], DUE)
    assert sorted((event.tenant_id, event.image_id) for event in both) == [("tenant_a", "img_3"), ("tenant_b", "img_3")]


def test_a_released_event_is_the_accepted_one(pending: PendingImages) -> None:
    for n in range(4):
        pending.admit(accepted(n), DUE)
    (released,) = pending.finish([("tenant_a", "img_0")], DUE)
    assert released.model_copy(update={"file_name": ""}) == accepted(3).model_copy(update={"file_name": ""})
    assert released.file_name.startswith("süß")


def test_overdue_images_come_oldest_first_once_per_due_time(pending: PendingImages) -> None:
    for n in range(3):
        pending.admit(accepted(n), DUE - timedelta(minutes=n))
    late, later = DUE + timedelta(seconds=1), DUE + timedelta(minutes=30)
    assert ids(pending.overdue(late, later, 2)) == ["img_2", "img_1"]
    assert ids(pending.overdue(late, later, 2)) == ["img_0"]
    assert pending.overdue(late, later, 2) == []
    assert len(pending.overdue(later + timedelta(seconds=1), DUE, 10)) == 3


def test_waiting_and_ended_images_are_never_overdue(pending: PendingImages) -> None:
    for n in range(5):
        pending.admit(accepted(n), DUE)
    pending.finish([("tenant_a", "img_0")], DUE + timedelta(hours=1))
    assert sorted(ids(pending.overdue(DUE + timedelta(minutes=1), DUE, 10))) == ["img_1", "img_2"]


@pytest.fixture
def slow_admission(monkeypatch: pytest.MonkeyPatch) -> None:
    """Admissions that take so long between counting and committing that others meet them there."""
    slow = module.ADMIT.replace("RETURNING released", "RETURNING released, pg_sleep(0.1)")
    assert slow != module.ADMIT
    monkeypatch.setattr(module, "ADMIT", slow)


@pytest.fixture
def two(platform_url: str, connections: Connections) -> Iterator[list[PostgresPending]]:
    """Two execution environments on an empty table, with a window of one."""
    with connections.platform() as connection:
        connection.execute("TRUNCATE pending_images")
    opened = [Connections(platform_url), Connections(platform_url)]
    yield [PostgresPending(opened_connections, 1) for opened_connections in opened]
    for opened_connections in opened:
        opened_connections.close()


@pytest.mark.usefixtures("slow_admission")
def test_simultaneous_admissions_never_exceed_the_window(two: list[PostgresPending]) -> None:
    with ThreadPoolExecutor(2) as workers:
        answers = list(workers.map(lambda n: two[n].admit(accepted(n), DUE).released, range(2)))
    assert sorted(answers) == [False, True]


@pytest.mark.usefixtures("slow_admission")
def test_an_image_admitted_while_the_window_empties_is_released(
    two: list[PostgresPending], connections: Connections
) -> None:
    two[0].admit(accepted(0), DUE)
    with ThreadPoolExecutor(1) as uploads:
        admission = uploads.submit(two[0].admit, accepted(1), DUE)
        _wait_until_one_sleeps(connections)
        released = two[1].finish([("tenant_a", "img_0")], DUE)
        assert not admission.result().released
    assert ids(released) == ["img_1"]


def _wait_until_one_sleeps(connections: Connections) -> None:
    deadline = time.monotonic() + 10
    sleeping: list[dict[str, object]] = []
    while not sleeping and time.monotonic() < deadline:
        with connections.platform() as connection:
            sleeping = connection.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'").fetchall()
    assert sleeping


def test_every_image_is_released_exactly_once_while_others_are_admitted(
    pending: PendingImages, platform_url: str
) -> None:
    second = PostgresPending(Connections(platform_url), WINDOW) if isinstance(pending, PostgresPending) else pending
    images = [accepted(n, tenant_id) for n in range(30) for tenant_id in ("tenant_a", "tenant_b")]
    started: list[tuple[str, str]] = []

    def upload() -> None:
        started.extend((image.tenant_id, image.image_id) for image in images if pending.admit(image, DUE).released)

    def work() -> None:
        done = 0
        deadline = datetime.now(UTC) + timedelta(seconds=20)
        while done < len(images) and datetime.now(UTC) < deadline:
            batch = started[done : done + 4]
            done += len(batch)
            started.extend((image.tenant_id, image.image_id) for image in second.finish(batch, DUE))

    with ThreadPoolExecutor(2) as workers:
        for running in [workers.submit(upload), workers.submit(work)]:
            running.result()
    if isinstance(second, PostgresPending):
        second._connections.close()
    assert sorted(started) == sorted((image.tenant_id, image.image_id) for image in images)


def test_an_image_already_pending_keeps_its_first_event(pending: PendingImages) -> None:
    first = accepted(0)
    pending.admit(first, DUE)
    later = first.model_copy(update={"size_bytes": first.size_bytes + 1})
    assert pending.admit(later, DUE).event.size_bytes == first.size_bytes


def test_an_image_put_back_into_work_is_pending_with_its_newer_event(pending: PendingImages) -> None:
    for generation in (None, 3, 2):
        pending.admit(accepted(0).model_copy(update={"generation": generation}), DUE)
    (event,) = pending.overdue(DUE + timedelta(seconds=1), DUE, 10)
    assert event.generation == 3


def test_the_end_of_an_older_generation_leaves_a_newer_one_pending(pending: PendingImages) -> None:
    for n, generation in enumerate((1, 2, 3)):
        pending.admit(accepted(n).model_copy(update={"generation": generation}), DUE)
    pending.admit(accepted(3), DUE)
    ended = [("tenant_a", f"img_{n}") for n in range(3)]
    assert ids(pending.finish(ended, DUE, [2, 2, 2])) == ["img_3"]
    assert ids(pending.overdue(DUE + timedelta(seconds=1), DUE, 10)) == ["img_2", "img_3"]
    pending.finish(ended, DUE)
    assert ids(pending.overdue(DUE + timedelta(seconds=1), DUE, 10)) == ["img_3"]


def test_a_tenant_in_company_has_a_smaller_window(connections: Connections) -> None:
    """A flood that is alone may use the whole machine; another tenant's request makes it leave room at once."""
    pending, counters = PostgresPending(connections, 4, shared=1), PostgresRequestCounters(connections)
    with connections.platform() as connection:
        connection.execute("TRUNCATE pending_images")
        connection.execute("DELETE FROM request_counters")

    def ended(*numbers: int) -> list[str]:
        return ids(pending.finish([("tenant_a", f"img_{n}") for n in numbers], DUE))

    assert [pending.admit(accepted(n), DUE).released for n in range(5)] == [True, True, True, True, False]
    counters.count("tenant_a", datetime.now(UTC))
    assert ended(0) == ["img_4"]
    counters.count("tenant_quiet", datetime.now(UTC))
    assert not pending.admit(accepted(5), DUE).released
    assert pending.admit(accepted(6, "tenant_quiet"), DUE).released
    assert (ended(1), ended(2, 3), ended(4)) == ([], [], ["img_5"])


def test_what_is_postponed_is_overdue_only_then_and_never_earlier(pending: PendingImages) -> None:
    for n in range(3):
        pending.admit(accepted(n), DUE)
    pending.postpone(
        [
            ("tenant_a", "img_0", DUE + timedelta(hours=1)),
            ("tenant_a", "img_0", DUE + timedelta(minutes=1)),
            ("tenant_a", "img_1", NOON),
            ("tenant_a", "img_none", DUE + timedelta(hours=1)),
        ]
    )
    pending.postpone([])

    later = DUE + timedelta(seconds=1)
    assert sorted(ids(pending.overdue(later, later + timedelta(days=1), 10))) == ["img_1", "img_2"]
    assert ids(pending.overdue(DUE + timedelta(minutes=61), later + timedelta(days=1), 10)) == ["img_0"]


def test_postponing_on_many_threads_blocks_nobody(pending: PendingImages) -> None:
    for n in range(3):
        pending.admit(accepted(n), DUE)
    orders = [[("tenant_a", f"img_{n}", DUE) for n in order] for order in ((0, 1, 2), (2, 1, 0))]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda turn: pending.postpone(orders[turn % 2]), range(40)))
    assert len(pending.overdue(DUE + timedelta(days=1), DUE + timedelta(days=2), 10)) == 3


def test_what_was_admitted_again_since_is_not_forgotten(pending: PendingImages) -> None:
    for n in range(2):
        pending.admit(accepted(n), DUE)
    later = DUE + timedelta(seconds=1)
    pending.admit(accepted(1), later)
    pairs = [("tenant_a", "img_0"), ("tenant_a", "img_1"), ("tenant_a", "img_9")]

    assert pending.finish(pairs, DUE, still_due=DUE) == []
    assert ids(pending.overdue(later + timedelta(hours=1), later, 10)) == ["img_1"]
    assert pending.finish(pairs, DUE, still_due=later) == []
    assert pending.overdue(later + timedelta(hours=1), later, 10) == []


def test_what_is_forgotten_because_it_is_still_due_makes_room(pending: PendingImages) -> None:
    for n in range(4):
        pending.admit(accepted(n), DUE)
    assert ids(pending.finish([("tenant_a", "img_0")], DUE, still_due=DUE)) == ["img_3"]
