"""State per image and model, and changes of model, of the fakes as of PostgreSQL."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from deeplens.database.connections import Connections
from deeplens.embedding.model import ModelProfile, ModelRef, Thresholds
from deeplens.images.model import Step
from deeplens.images.ports import ImageRepository
from deeplens.images.postgres import PostgresImages
from deeplens.rollouts.model import Rollout, Rollouts, VectorCounts, VectorState, VectorStates, VectorStep
from deeplens.rollouts.postgres import PostgresRollouts, PostgresVectorStates
from deeplens.tenants.directory import PostgresDirectory
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory

from tests.fakes.db import FakeDirectory, FakeImages
from tests.fakes.rollouts import FakeRollouts, FakeVectorStates
from tests.integration.images.test_postgres import new_image, reached

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
OLD, NEW, OTHER = (ModelRef("deeplens-visual", version, 512) for version in "123")
LIMITS = Thresholds(0.97, 0.7, 0.5)


@dataclass
class World:
    images: ImageRepository
    states: VectorStates
    rollouts: Rollouts
    tenants: TenantDirectory

    def complete(self, tenant: Tenant, *image_ids: str, generation: int = 1) -> None:
        for image_id in image_ids:
            self.images.insert(tenant, new_image(image_id))
        self.images.advance(tenant, [reached(Step.COMPLETED, image_id, generation) for image_id in image_ids])

    def start(self, tenant: Tenant, target: ModelRef = NEW, rollout_id: str = "") -> Rollout:
        self.rollouts.register(ModelProfile(target, LIMITS, text=False))
        rollout = self.rollouts.start(tenant, target, rollout_id or f"rol_{tenant.id}_{target.version}", NOON)
        assert rollout is not None
        return rollout

    def read(self, tenant: Tenant) -> Tenant:
        return self.tenants.get(tenant.id, fresh=True)


@pytest.fixture(params=["fake", "postgres"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "fake":
        images, tenants = FakeImages(), FakeDirectory(request.getfixturevalue("tenant"))
        yield World(images, FakeVectorStates(images), FakeRollouts(tenants), tenants)
        return
    connections: Connections = request.getfixturevalue("connections")
    directory = PostgresDirectory(connections, "http://qdrant")
    yield World(
        PostgresImages(connections), PostgresVectorStates(connections), PostgresRollouts(connections), directory
    )


def state(image_id: str, step: VectorStep, generation: int = 1, model: ModelRef = NEW) -> VectorState:
    return VectorState(image_id, model, generation, step)


def counts(world: World, tenant: Tenant, model: ModelRef = NEW) -> VectorCounts:
    return world.states.counts(tenant, model)


def test_a_plan_notes_completed_images_page_by_page(world: World, tenant: Tenant) -> None:
    world.complete(tenant, *(f"img_{n}" for n in range(5)))
    world.images.insert(tenant, new_image("img_in_flight"))

    assert world.states.plan(tenant, NEW, "", 3) == "img_2"
    assert world.states.plan(tenant, NEW, "img_2", 3) == "img_4"
    assert world.states.plan(tenant, NEW, "img_4", 3) is None
    assert counts(world, tenant) == VectorCounts(images=5, missing=5, waiting=5, requested=0, failed=0)


def test_a_plan_leaves_what_is_known_already(world: World, tenant: Tenant) -> None:
    world.complete(tenant, "img_a", "img_b")
    world.states.record(tenant, [state("img_a", VectorStep.INDEXED)])

    for _ in range(2):
        world.states.plan(tenant, NEW, "", 10)

    assert counts(world, tenant) == VectorCounts(images=2, missing=1, waiting=1, requested=0, failed=0)


def test_deleted_images_are_neither_planned_nor_counted_nor_recorded(world: World, tenant: Tenant) -> None:
    world.complete(tenant, "img_a", "img_b")
    world.images.mark_deleted(tenant, "img_a", NOON)

    world.states.plan(tenant, NEW, "", 10)
    assert counts(world, tenant) == VectorCounts(images=1, missing=1, waiting=1, requested=0, failed=0)

    world.images.delete_rows(tenant, {"img_a": {}})
    world.states.record(tenant, [state("img_a", VectorStep.INDEXED), state("img_b", VectorStep.INDEXED)])
    assert world.states.indexed(tenant, NEW, ["img_a", "img_b"]) == {"img_b"}


def test_a_window_is_kept_full_and_never_exceeded(world: World, tenant: Tenant) -> None:
    world.complete(tenant, *(f"img_{n}" for n in range(5)))
    world.states.plan(tenant, NEW, "", 10)

    assert world.states.release(tenant, NEW, 2) == [("img_0", 1), ("img_1", 1)]
    assert world.states.release(tenant, NEW, 2) == []
    world.states.record(tenant, [state("img_0", VectorStep.INDEXED)])
    assert world.states.release(tenant, NEW, 2) == [("img_2", 1)]
    world.states.record(tenant, [state("img_1", VectorStep.FAILED)])
    assert world.states.release(tenant, NEW, 2) == [("img_3", 1)]
    assert counts(world, tenant) == VectorCounts(images=5, missing=4, waiting=1, requested=2, failed=1)


def test_what_was_asked_for_long_ago_is_asked_for_again(world: World, tenant: Tenant) -> None:
    world.complete(tenant, "img_a", "img_b")
    world.states.plan(tenant, NEW, "", 10)
    world.states.release(tenant, NEW, 1)

    assert world.states.release(tenant, NEW, 1, datetime.now(UTC) + timedelta(minutes=1)) == [("img_a", 1)]


def test_an_older_generation_or_step_replaces_nothing(world: World, tenant: Tenant) -> None:
    world.complete(tenant, "img_a")
    world.states.record(tenant, [state("img_a", VectorStep.INDEXED, 2), state("img_a", VectorStep.REQUESTED, 2)])
    world.states.record(tenant, [state("img_a", VectorStep.FAILED, 2)])
    world.states.record(tenant, [state("img_a", VectorStep.INDEXED, 1)])

    assert world.states.indexed(tenant, NEW, ["img_a"]) == {"img_a"}
    assert counts(world, tenant).failed == 0


def test_a_vector_of_an_older_generation_does_not_count_as_the_images(world: World, tenant: Tenant) -> None:
    world.complete(tenant, "img_a", generation=2)
    world.states.record(tenant, [state("img_a", VectorStep.INDEXED, 1)])

    assert world.states.indexed(tenant, NEW, ["img_a"]) == set()


def test_models_are_apart_and_can_be_forgotten(world: World, tenant: Tenant) -> None:
    world.complete(tenant, "img_a")
    world.states.record(tenant, [state("img_a", VectorStep.INDEXED), state("img_a", VectorStep.INDEXED, model=OLD)])

    world.states.forget(tenant, NEW)

    assert world.states.indexed(tenant, NEW, ["img_a"]) == set()
    assert world.states.indexed(tenant, OLD, ["img_a"]) == {"img_a"}


def test_a_sample_holds_images_with_a_vector_only_and_repeats(world: World, tenant: Tenant) -> None:
    world.complete(tenant, *(f"img_{n}" for n in range(6)))
    world.states.record(tenant, [state(f"img_{n}", VectorStep.INDEXED) for n in range(4)])

    found = world.states.sample(tenant, NEW, 3)

    assert len(found) == 3
    assert set(found) < {f"img_{n}" for n in range(4)}
    assert world.states.sample(tenant, NEW, 3) == found


def test_states_of_two_tenants_are_apart(world: World, tenant: Tenant, new_tenant: Any) -> None:
    other = new_tenant()
    world.complete(tenant, "img_a")
    world.states.record(tenant, [state("img_a", VectorStep.INDEXED)])

    assert world.states.indexed(other, NEW, ["img_a"]) == set()
    assert counts(world, other).images == 0


def test_a_rollout_goes_there_and_back_and_ends(world: World, tenant: Tenant) -> None:
    rollout = world.start(tenant)
    assert (world.read(tenant).model, world.read(tenant).target) == (OLD, NEW)

    assert world.rollouts.swap(rollout, NOON)
    assert (world.read(tenant).model, world.read(tenant).target) == (NEW, OLD)
    assert world.read(tenant).thresholds == LIMITS

    back = world.rollouts.find(tenant.id, rollout.id)
    assert back is not None
    assert (back.state, back.cut_over_at) == ("cut-over", NOON)
    assert world.rollouts.swap(back, NOON)
    assert (world.read(tenant).model, world.read(tenant).target) == (OLD, NEW)

    again = world.rollouts.find(tenant.id, rollout.id)
    assert again is not None
    assert world.rollouts.swap(again, NOON)
    assert world.rollouts.end(replace(again, state="cut-over"), NOON)
    assert (world.read(tenant).model, world.read(tenant).target) == (NEW, None)
    ended = world.rollouts.find(tenant.id, rollout.id)
    assert ended is not None
    assert (ended.state, ended.retired_model, ended.ended_at) == ("finished", OLD, NOON)


def test_a_cancelled_rollout_leaves_the_old_model(world: World, tenant: Tenant) -> None:
    rollout = world.start(tenant)

    assert world.rollouts.end(rollout, NOON)

    assert (world.read(tenant).model, world.read(tenant).target) == (OLD, None)
    ended = world.rollouts.find(tenant.id, rollout.id)
    assert ended is not None
    assert (ended.state, ended.retired_model) == ("cancelled", NEW)


def test_one_rollout_at_a_time(world: World, tenant: Tenant) -> None:
    first = world.start(tenant)
    assert world.rollouts.start(tenant, OTHER, "rol_second", NOON) is None

    world.rollouts.end(first, NOON)
    assert world.start(world.read(tenant), OTHER).target == OTHER


def test_a_step_from_a_state_that_is_no_more_changes_nothing(world: World, tenant: Tenant) -> None:
    rollout = world.start(tenant)
    assert world.rollouts.swap(rollout, NOON)

    assert not world.rollouts.swap(rollout, NOON)
    assert not world.rollouts.end(rollout, NOON)
    assert (world.read(tenant).model, world.read(tenant).target) == (NEW, OLD)


def test_unfinished_are_those_with_work_left(world: World, new_tenant: Any) -> None:
    running, over, finished, done = owners = [new_tenant() for _ in range(4)]
    for owner in owners:
        if isinstance(world.tenants, FakeDirectory):
            world.tenants.add(owner)
    begun = {owner.id: world.start(owner) for owner in owners}
    for owner in (over, finished, done):
        world.rollouts.swap(begun[owner.id], NOON)
    for owner in (finished, done):
        world.rollouts.end(replace(begun[owner.id], state="cut-over"), NOON)
    world.rollouts.dropped(begun[done.id], NOON)

    found = {rollout.tenant_id for rollout in world.rollouts.unfinished(1000)} & {owner.id for owner in owners}

    assert found == {running.id, finished.id}


def test_a_rollout_of_another_tenant_is_not_found(world: World, tenant: Tenant, new_tenant: Any) -> None:
    rollout = world.start(tenant)

    assert world.rollouts.find(new_tenant().id, rollout.id) is None
    assert [rollout.id for rollout in world.rollouts.of_tenant(tenant.id)] == [rollout.id]


def test_of_many_simultaneous_cut_overs_one_counts(connections: Connections, tenant: Tenant) -> None:
    rollouts = PostgresRollouts(connections)
    rollouts.register(ModelProfile(NEW, LIMITS))
    rollout = rollouts.start(tenant, NEW, f"rol_{tenant.id}", NOON)
    assert rollout is not None

    with ThreadPoolExecutor(8) as workers:
        won = list(workers.map(lambda _: rollouts.swap(rollout, NOON), range(16)))

    assert won.count(True) == 1
    assert PostgresDirectory(connections, "http://qdrant").get(tenant.id).model == NEW


def test_simultaneous_releases_never_hand_out_an_image_twice(connections: Connections, tenant: Tenant) -> None:
    images, states = PostgresImages(connections), PostgresVectorStates(connections)
    ids = [f"img_{n:03}" for n in range(200)]
    for image_id in ids:
        images.insert(tenant, new_image(image_id))
    images.advance(tenant, [reached(Step.COMPLETED, one) for one in ids])
    states.plan(tenant, NEW, "", 1000)

    with ThreadPoolExecutor(8) as workers:
        handed = [one for found in workers.map(lambda _: states.release(tenant, NEW, 200), range(16)) for one in found]

    assert sorted(handed) == [(image_id, 1) for image_id in ids]
