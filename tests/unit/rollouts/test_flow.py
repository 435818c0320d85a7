"""A change of model while images keep coming: nothing is lost, searched twice, or searched with the wrong model."""

import base64
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from deeplens.embedding.model import ModelProfile
from deeplens.errors import InferenceBusy, InvalidImage
from deeplens.events.maintenance import ImageMaintenance
from deeplens.images.model import Step
from deeplens.rollouts.advance import REQUEST_TIMEOUT, TENANT_CACHED_AT_MOST, TickRollouts, rollout_slice
from deeplens.rollouts.model import Rollout, VectorCounts
from deeplens.tenants.model import Tenant

from tests.harness.api import MODEL
from tests.harness.flow import TARGET, Flow

EXTRACTION, INDEXING = "deeplens.features.extraction", "deeplens.vectors.indexing"


@pytest.fixture
def flow() -> Flow:
    return Flow()


def start(flow: Flow) -> Rollout:
    flow.rollouts.register(ModelProfile(TARGET))
    flow.index.create_collection(flow.acme.using(TARGET))
    rollout = flow.rollouts.start(flow.acme, TARGET, "rol_1", flow.clock.now())
    assert rollout is not None
    return rollout


def now_at(flow: Flow) -> Rollout:
    rollout = flow.rollouts.find("tenant_acme", "rol_1")
    assert rollout is not None
    return rollout


def tick(flow: Flow) -> None:
    """What the schedule does each minute."""
    for event in TickRollouts(flow.rollouts, flow.clock)():
        flow.send(event)
    flow.run()


def cut_over(flow: Flow) -> None:
    assert flow.rollouts.swap(now_at(flow), flow.clock.now())


def points(flow: Flow, tenant: Tenant | None = None) -> tuple[int, int]:
    """In the old model's collection, and in the new one's."""
    owner = tenant or flow.acme
    return flow.index.count(owner.using(MODEL)), flow.index.count(owner.using(TARGET))


def missing(flow: Flow) -> int:
    return flow.vector_states.counts(flow.acme, TARGET).missing


def test_new_images_get_both_vectors_and_complete_once(flow: Flow) -> None:
    start(flow)
    flow.accept("img_1")
    flow.run()

    assert flow.row("img_1").step is Step.COMPLETED
    assert (flow.row("img_1").model, flow.row("img_1").model_version) == (MODEL.name, MODEL.version)
    assert points(flow) == (1, 1)
    assert [entry.stage for entry in flow.images.timeline(flow.acme, "img_1")].count("complete") == 1
    assert flow.usage.of("images.completed") == 1


def test_another_tenant_is_not_embedded_twice(flow: Flow) -> None:
    start(flow)
    flow.accept("img_1", owner=flow.other)
    flow.run()

    assert flow.index.count(flow.other) == 1
    assert not flow.index.exists(flow.other.using(TARGET))


def test_older_images_are_filled_in_a_window_at_a_time(flow: Flow) -> None:
    for number in range(10):
        flow.accept(f"img_{number}")
    flow.run()
    most: list[int] = []

    def watch(_: str) -> None:
        most.append(flow.vector_states.counts(flow.acme, TARGET).requested)

    flow.send(rollout_slice(start(flow), flow.clock.now()))
    flow.run(before=watch)

    assert points(flow) == (10, 10)
    assert missing(flow) == 0
    assert max(most) <= flow.backfill_window
    assert [entry.stage for entry in flow.images.timeline(flow.acme, "img_1")].count("complete") == 1
    assert flow.usage.of("images.completed") == 10


def test_images_that_slipped_through_before_dual_writing_are_filled_by_a_later_tick(flow: Flow) -> None:
    """A process that remembers the old row embeds with the old model only."""
    flow.accept("img_1")
    start(flow)
    remembered = replace(flow.tenants.get("tenant_acme"), target=None)
    current = flow.tenants.get
    flow.tenants.get = lambda tenant_id, *, fresh=False: (
        remembered if tenant_id == "tenant_acme" else current(tenant_id)
    )  # type: ignore[method-assign]
    flow.run()
    flow.tenants.get = current  # type: ignore[method-assign]
    assert points(flow) == (1, 0)

    tick(flow)

    assert points(flow) == (1, 1)


@pytest.mark.parametrize("topic", [EXTRACTION, INDEXING, "deeplens.images.maintenance"])
def test_every_record_of_a_rollout_twice_changes_nothing(flow: Flow, topic: str) -> None:
    for number in range(5):
        flow.accept(f"img_{number}")
    flow.run()

    def repeat(current: str) -> None:
        if current == topic and len(flow.handled) < 60:
            flow.records[current].extend([*flow.records[current]])

    flow.send(rollout_slice(start(flow), flow.clock.now()))
    flow.accept("img_new")
    flow.run(before=repeat)

    assert points(flow) == (6, 6)
    assert flow.usage.of("images.completed") == 6


def test_requests_that_were_lost_are_asked_for_again(flow: Flow) -> None:
    for number in range(5):
        flow.accept(f"img_{number}")
    flow.run()
    flow.send(rollout_slice(start(flow), flow.clock.now()))
    flow.deliver("deeplens.images.maintenance")
    flow.records[EXTRACTION].clear()  # the process died before it sent them
    assert missing(flow) == 5

    flow.clock.skip(REQUEST_TIMEOUT + timedelta(seconds=1))
    tick(flow)

    assert missing(flow) == 0


@pytest.mark.parametrize("topic", [EXTRACTION, INDEXING])
def test_a_cut_over_in_mid_flight_completes_every_image(flow: Flow, topic: str) -> None:
    start(flow)
    for number in range(3):
        flow.accept(f"img_{number}")

    def swap(current: str) -> None:
        if current == topic and now_at(flow).state == "running":
            cut_over(flow)

    flow.run(before=swap)

    assert [flow.row(f"img_{number}").step for number in range(3)] == [Step.COMPLETED] * 3
    assert points(flow) == (3, 3)
    assert flow.usage.of("images.completed") == 3


def test_a_cut_over_between_the_two_vectors_of_an_image_completes_it(flow: Flow) -> None:
    start(flow)
    flow.accept("img_1")
    flow.deliver("deeplens.images.uploaded")
    flow.deliver(EXTRACTION)
    first, second = flow.records[INDEXING]
    new = first if b'"modelVersion":"2"' in decoded(first) else second
    old = second if new is first else first
    flow.records[INDEXING].clear()
    flow.records[INDEXING].append(new)
    flow.deliver(INDEXING)
    assert flow.row("img_1").step < Step.INDEXED

    cut_over(flow)
    flow.records[INDEXING].append(old)
    flow.run()

    assert flow.row("img_1").step is Step.COMPLETED
    assert flow.row("img_1").model_version == TARGET.version


def test_going_back_finds_everything_in_the_old_collection(flow: Flow) -> None:
    start(flow)
    flow.accept("img_1")
    flow.run()
    cut_over(flow)
    flow.accept("img_2")
    flow.run()

    cut_over(flow)

    assert flow.tenants.get("tenant_acme").model == MODEL
    assert points(flow) == (2, 2)


@pytest.mark.parametrize("over", [False, True])
def test_an_ended_rollout_drops_the_loser_only_when_nobody_remembers_it(flow: Flow, over: bool) -> None:
    start(flow)
    flow.accept("img_1")
    flow.run()
    if over:
        cut_over(flow)
    flow.rollouts.end(now_at(flow), flow.clock.now())
    loser, winner = (MODEL, TARGET) if over else (TARGET, MODEL)

    tick(flow)
    assert flow.index.exists(flow.acme.using(loser))

    flow.clock.skip(TENANT_CACHED_AT_MOST)
    tick(flow)
    assert not flow.index.exists(flow.acme.using(loser))
    assert flow.index.count(flow.acme.using(winner)) == 1
    assert now_at(flow).dropped_at is not None
    assert flow.vector_states.indexed(flow.acme, loser, ["img_1"]) == set()
    tick(flow)


def test_an_image_that_only_the_new_model_refuses_stays_searchable(flow: Flow) -> None:
    rollout = start(flow)
    embed = flow.embedder.embed

    def picky(images: Any, model: Any) -> Any:
        if model == TARGET:
            raise InvalidImage("no features")
        return embed(images, model)

    flow.embedder.embed = picky  # type: ignore[method-assign]
    flow.accept("img_1")
    flow.run()

    assert flow.row("img_1").step is Step.COMPLETED
    assert points(flow) == (1, 0)
    assert flow.vector_states.counts(flow.acme, TARGET) == VectorCounts(1, 1, 0, 0, failed=1)
    assert len(flow.dead_letters.letters) == 1
    flow.send(rollout_slice(rollout, flow.clock.now()))
    flow.run()
    assert flow.vector_states.counts(flow.acme, TARGET).failed == 1


def test_a_new_model_that_is_away_holds_nothing_else_up_for_ever(flow: Flow) -> None:
    start(flow)
    embed, refused = flow.embedder.embed, []

    def busy_at_first(images: Any, model: Any) -> Any:
        if model == TARGET and len(refused) < 3:
            refused.append(model)
            raise InferenceBusy("loading")
        return embed(images, model)

    flow.embedder.embed = busy_at_first  # type: ignore[method-assign]
    flow.accept("img_1")
    flow.run()

    assert flow.row("img_1").step is Step.COMPLETED
    assert points(flow) == (1, 1)


@pytest.mark.parametrize("topic", ["deeplens.images.uploaded", EXTRACTION, INDEXING])
def test_an_image_deleted_during_a_rollout_is_gone_from_both(flow: Flow, topic: str) -> None:
    start(flow)
    flow.accept("img_1")
    flow.accept("img_2")
    done: list[str] = []

    def delete(current: str) -> None:
        if current == topic and not done:
            done.append(current)
            flow.images.mark_deleted(flow.acme, "img_1", flow.clock.now())
            flow.send(
                ImageMaintenance(
                    maintenance_type="delete",
                    image_id="img_1",
                    tenant_id="tenant_acme",
                    requested_at=flow.clock.now(),
                )
            )

    flow.run(before=delete)

    assert points(flow) == (1, 1)


def test_an_unknown_or_foreign_rollout_is_dropped(flow: Flow) -> None:
    rollout = start(flow)
    flow.send(rollout_slice(replace(rollout, tenant_id="tenant_other"), flow.clock.now()))
    flow.send(rollout_slice(replace(rollout, id="rol_unknown"), flow.clock.now()))
    flow.run()

    assert not flow.index.exists(flow.other.using(TARGET))
    assert len(flow.dead_letters.letters) == 0


def test_a_vector_of_a_cancelled_model_is_refused(flow: Flow) -> None:
    start(flow)
    flow.accept("img_1")
    flow.deliver("deeplens.images.uploaded")
    flow.deliver(EXTRACTION)
    flow.rollouts.end(now_at(flow), flow.clock.now())

    flow.run()

    assert flow.row("img_1").step is Step.COMPLETED
    assert points(flow) == (1, 0)


def decoded(record: dict[str, Any]) -> bytes:
    return base64.b64decode(record["value"])
