"""A process may die between any two side effects: of an upload, of each stage, of the schedule."""

from collections import deque
from collections.abc import Callable, Iterator
from random import Random

import pytest
from deeplens.errors import InferenceBusy, ModelNotFound
from deeplens.events.topics import PROCESSING_COMPLETED
from deeplens.images.keys import derived_keys, original_key
from deeplens.images.model import StageResult, Step, Tombstone
from deeplens.images.requests import image_uploaded

from tests.harness.api import picture
from tests.harness.crashing import CrashingFlow, DieAt, Died

BROKEN = picture(0, (400, 400))[:300]


def upload(flow: CrashingFlow) -> None:
    flow.accepted()
    flow.settle()
    assert_completed(flow, 1)


def more_than_fit_the_window(flow: CrashingFlow) -> None:
    for number in range(5):
        flow.accepted(number)
    flow.settle()
    assert_completed(flow, 5)


def broken(flow: CrashingFlow) -> None:
    image_id = flow.accepted(body=BROKEN)
    flow.settle()
    row = flow.row(image_id)
    assert (row.step, row.error_code) == (Step.FAILED, "IMAGE_CORRUPT")
    assert_quiet(flow)
    (letter,) = flow.dead_letters.kept.values()
    assert (letter.image_id, letter.state) == (image_id, "open")
    assert letter.source is not None
    assert letter.source.value
    assert flow.objects() == {original_key(image_id, ".jpg")}
    assert flow.index.count(flow.acme) == 0


def retried(flow: CrashingFlow) -> None:
    flow.accepted()
    flow.embedder.failure = ModelNotFound("not loaded yet")
    while not flow.retries.messages:
        flow.run()
        if flow.pending.images() and not flow.retries.messages:
            flow.tick()
    flow.embedder.failure = None
    flow.settle()
    assert_completed(flow, 1)


def deleted(flow: CrashingFlow) -> None:
    image_id = flow.accepted()
    flow.run()
    flow.surviving(lambda: flow.delete(image_id))
    flow.settle()
    row = flow.row(image_id)
    assert isinstance(row, Tombstone)
    assert row.receipt is not None
    assert flow.objects() == set()
    assert flow.index.count(flow.acme) == 0
    assert flow.dead_letters.letters == {}
    assert_quiet(flow)


def assert_completed(flow: CrashingFlow, count: int) -> None:
    """Each image completed, metered, with one vector and one set of files; nothing else anywhere."""
    ids = {f"img_{number}" for number in range(count)}
    assert {image_id: flow.row(image_id).step for image_id in ids} == dict.fromkeys(ids, Step.COMPLETED)
    assert flow.objects() == {key for one in ids for key in (original_key(one, ".jpg"), *derived_keys(one))}
    assert flow.index.existing(flow.acme, sorted(ids)) == ids
    assert (flow.index.count(flow.acme), flow.metered()) == (count, count)
    assert flow.dead_letters.letters == {}
    assert_quiet(flow)


def assert_quiet(flow: CrashingFlow) -> None:
    assert flow.pending.images() == set()
    assert flow.sweep(dry_run=True).found == {}


SCENARIOS: dict[Callable[[CrashingFlow], None], int] = {
    upload: 200,
    more_than_fit_the_window: 2,
    broken: 200,
    retried: 200,
    deleted: 200,
}
"""With the tenant's window."""


def points(scenario: Callable[[CrashingFlow], None]) -> list[str]:
    """Every fault point that the scenario passes when nothing dies."""
    fault = DieAt()
    scenario(CrashingFlow(fault, SCENARIOS[scenario]))
    return fault.points


def every_crash() -> Iterator[object]:
    for scenario in SCENARIOS:
        for at, point in enumerate(points(scenario)):
            yield pytest.param(scenario, at, id=f"{scenario.__name__}-{at}-{point}")


@pytest.mark.parametrize(("scenario", "at"), list(every_crash()))
def test_a_crash_at_any_side_effect_is_harmless(scenario: Callable[[CrashingFlow], None], at: int) -> None:
    scenario(CrashingFlow(DieAt(at), SCENARIOS[scenario]))


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(n, marks=pytest.mark.long) for n in range(4, 100))])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_many_crashes_are_as_harmless_as_one(scenario: Callable[[CrashingFlow], None], seed: int) -> None:
    rng = Random(seed)
    scenario(CrashingFlow(lambda _: rng.random() < 0.04, SCENARIOS[scenario]))


def test_every_side_effect_of_an_upload_is_tried() -> None:
    fault = DieAt()
    CrashingFlow(fault).upload()
    effects = ("pending.admit", "store.put", "images.insert", "publisher.publish")
    assert fault.points == [f"{effect}:{when}" for effect in effects for when in ("before", "after")]
    assert len({point.partition(":")[0] for scenario in SCENARIOS for point in points(scenario)}) >= 14


@pytest.mark.parametrize("at", range(8), ids=points(upload)[:8])
def test_an_upload_that_nobody_repeats_is_finished_or_forgotten(at: int) -> None:
    flow = CrashingFlow(DieAt(at))
    with pytest.raises(Died):
        flow.upload()
    flow.settle()

    if flow.row("img_0") is not None:
        assert_completed(flow, 1)
        return
    assert flow.dead_letters.letters == {}
    assert flow.index.count(flow.acme) == 0
    assert set(flow.sweep(dry_run=False).repaired) <= {"object-without-row"}
    assert flow.objects() == set()


def test_a_forgotten_upload_makes_room_for_the_next() -> None:
    flow = CrashingFlow(DieAt(1), window=1)
    with pytest.raises(Died):
        flow.upload(0)
    flow.upload(1)
    flow.settle()

    assert flow.row("img_0") is None
    assert flow.row("img_1").step is Step.COMPLETED


def test_an_upload_that_goes_on_while_it_is_found_abandoned_stays_pending() -> None:
    flow = CrashingFlow(DieAt(2))
    with pytest.raises(Died):
        flow.upload()
    find = flow.images.find

    def found_late(*asked: object) -> object:
        answer = find(*asked)  # type: ignore[arg-type]
        flow.images.find = find  # type: ignore[method-assign]
        flow.upload()
        return answer

    flow.images.find = found_late  # type: ignore[assignment, method-assign]
    flow.tick()

    assert flow.pending.images() == {"img_0"}
    flow.settle()
    assert_completed(flow, 1)


@pytest.mark.parametrize("seed", range(3))
def test_crashes_while_a_part_is_away_lose_nothing(seed: int) -> None:
    rng = Random(seed)
    flow = CrashingFlow(lambda _: rng.random() < 0.02)
    for number in range(5):
        flow.accepted(number)
    flow.embedder.failure = InferenceBusy()
    for _ in range(5):
        for topic in list(flow.records):
            if flow.records[topic]:
                flow.deliver(topic)
    flow.embedder.failure = None
    flow.settle()
    assert_completed(flow, 5)


def test_images_that_a_repeated_batch_releases_are_told_apart() -> None:
    flow = CrashingFlow(DieAt(), window=1)
    for number in range(3):
        flow.upload(number)
    completed = flow.records.setdefault(PROCESSING_COMPLETED.name, deque())

    def go_on() -> None:
        while not completed:
            for topic in list(flow.records):
                if flow.records[topic]:
                    flow.deliver(topic)

    go_on()
    first = completed[0]
    flow.deliver(PROCESSING_COMPLETED.name)
    go_on()
    # The process died before the first one was committed: it comes again, now together with what it had released.
    completed.appendleft(first)
    flow.settle()

    assert_completed(flow, 3)


def test_a_request_that_admits_an_image_after_its_end_leaves_nothing_pending() -> None:
    flow = CrashingFlow(DieAt(), window=1)
    flow.upload(0)
    find = flow.images.find

    def slow(*asked: object) -> object:
        """The repeat of a client reads the row, and is so slow that the image ends before it goes on."""
        answer = find(*asked)  # type: ignore[arg-type]
        flow.images.find = find  # type: ignore[method-assign]
        flow.run()
        return answer

    flow.images.find = slow  # type: ignore[assignment, method-assign]
    flow.upload(0)
    flow.upload(1)
    flow.settle()

    assert_completed(flow, 2)


@pytest.mark.parametrize(
    ("generation", "step", "over"),
    [
        (1, Step.ACCEPTED, False),
        (1, Step.INDEXED, False),
        (1, Step.FAILED, True),
        (1, Step.COMPLETED, True),
        (2, Step.ACCEPTED, False),
        (2, Step.COMPLETED, True),
    ],
)
def test_the_schedule_sends_what_has_not_ended(generation: int, step: Step, over: bool) -> None:
    flow = CrashingFlow(DieAt())
    flow.upload()
    flow.records.clear()
    flow.images.advance(flow.acme, [StageResult("img_0", generation, step, "x", flow.clock.now())])
    flow.tick()
    assert (flow.pending.images() == set()) == over
    assert ("deeplens.images.uploaded" not in flow.records) == over
    flow.settle()
    assert flow.row("img_0").step is (step if over else Step.COMPLETED)


def test_a_retry_that_stopped_before_its_row_was_moved_is_sent() -> None:
    flow = CrashingFlow(DieAt())
    flow.accepted(body=BROKEN)
    flow.settle()
    row = flow.row("img_0")
    flow.pending.admit(image_uploaded(flow.acme.id, row).model_copy(update={"generation": 2}), flow.clock.now())
    flow.tick()
    assert len(flow.records["deeplens.images.uploaded"]) == 1
