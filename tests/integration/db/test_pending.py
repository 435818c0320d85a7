"""What accepting and completing images rely on in ``PendingImages``, of the fake as of PostgreSQL."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from deeplens.contracts.events import ImageUploaded
from deeplens.db.connections import Connections
from deeplens.db.pending import PostgresPending
from deeplens.ports import PendingImages

from tests.fakes.db import FakePending

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
DUE = NOON + timedelta(minutes=10)
WINDOW = 3

type NewPending = Callable[[], PendingImages]


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
    assert [pending.admit(accepted(n), DUE) for n in range(5)] == [True, True, True, False, False]


def test_an_image_admitted_again_keeps_its_answer(pending: PendingImages) -> None:
    first = [pending.admit(accepted(n), DUE) for n in range(4)]
    assert [pending.admit(accepted(n), DUE) for n in range(4)] == first


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
    assert [pending.admit(accepted(n, "tenant_b"), DUE) for n in range(4)] == [True, True, True, False]
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


def test_simultaneous_admissions_never_exceed_the_window(pending: PendingImages, platform_url: str) -> None:
    others = [pending] * 4
    if isinstance(pending, PostgresPending):
        others = [PostgresPending(Connections(platform_url), WINDOW) for _ in range(4)]
    with ThreadPoolExecutor(4) as workers:
        answers = list(workers.map(lambda n: others[n % 4].admit(accepted(n), DUE), range(40)))
    _close(others)
    assert sum(answers) == WINDOW


def test_every_image_is_released_exactly_once_while_others_are_admitted(
    pending: PendingImages, platform_url: str
) -> None:
    second = PostgresPending(Connections(platform_url), WINDOW) if isinstance(pending, PostgresPending) else pending
    images = [accepted(n, tenant_id) for n in range(30) for tenant_id in ("tenant_a", "tenant_b")]
    started: list[tuple[str, str]] = []

    def upload() -> None:
        started.extend((image.tenant_id, image.image_id) for image in images if pending.admit(image, DUE))

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
    _close([second])
    assert sorted(started) == sorted((image.tenant_id, image.image_id) for image in images)


def _close(adapters: list[PendingImages]) -> None:
    for adapter in adapters:
        if isinstance(adapter, PostgresPending):
            adapter.connections.close()
