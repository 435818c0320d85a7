"""Two sweeps repair any combination of losses and leftovers, and touch no sound image."""

from typing import Any

import pytest
from deeplens.images.model import Step
from deeplens.maintenance import sweep
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.unit.maintenance.conftest import DAY, complete_images, new_flow, orphan_point, sweep_to_end


class AnyDamage(RuleBasedStateMachine):
    """Whatever is lost or left over: after two sweeps nothing contradicts, and no sound image was touched."""

    images = st.sampled_from([f"img_{n}" for n in range(6)])
    parts = st.sampled_from(["processed/{}.jpg", "thumbnails/small/{}.jpg", "thumbnails/medium/{}.jpg"])

    @initialize()
    def begin(self) -> None:
        self.flow, self.lost, self.buried = new_flow(), set[str](), set[str]()
        complete_images(self.flow, *(f"img_{n}" for n in range(6)))
        self.flow.clock.skip(3 * DAY)

    @rule(image_id=images)
    def lose_vector(self, image_id: str) -> None:
        self.flow.index.delete(self.flow.acme, [image_id])

    @rule(image_id=images, part=parts)
    def lose_derived(self, image_id: str, part: str) -> None:
        self.flow.stores.for_tenant(self.flow.acme).delete([part.format(image_id)])

    @rule(image_id=images)
    def lose_original(self, image_id: str) -> None:
        self.flow.stores.for_tenant(self.flow.acme).delete([f"images/{image_id}.jpg"])
        self.lost.add(image_id)

    @rule(image_id=images)
    def half_delete(self, image_id: str) -> None:
        self.flow.images.mark_deleted(self.flow.acme, image_id, self.flow.clock.now())
        self.buried.add(image_id)

    @rule(image_id=images, part=parts)
    def leave_object(self, image_id: str, part: str) -> None:
        self.flow.stores.for_tenant(self.flow.acme).put(part.format(f"{image_id}x"), b"1", "image/jpeg")

    @rule(image_id=images)
    def leave_vector(self, image_id: str) -> None:
        orphan_point(self.flow, f"{image_id}x")

    @precondition(lambda self: hasattr(self, "flow"))
    @rule()
    def sweep(self) -> None:
        for _ in range(2):
            self.flow.clock.skip(3 * DAY)
            sweep_to_end(self.flow)
        live = {f"img_{n}" for n in range(6)} - self.buried
        sound = live - self.lost
        rows = self.flow.images.rows(self.flow.acme)
        assert {image_id for image_id, row in rows.items() if row.step is Step.COMPLETED} == sound
        assert {image_id for image_id, row in rows.items() if row.step is Step.FAILED} == live & self.lost
        assert self.flow.index.count(self.flow.acme) == len(sound)
        objects = self.flow.objects()
        assert {key for image_id in sound for key in sweep.expected(self.store, rows[image_id])} <= objects
        assert {key.rpartition("/")[2].partition(".")[0] for key in objects} <= live

    @property
    def store(self) -> Any:
        return self.flow.stores.for_tenant(self.flow.acme)

    @invariant()
    def metered_once(self) -> None:
        if hasattr(self, "flow"):
            assert self.flow.usage.of("images.completed") == 6


class MuchDamage(AnyDamage):
    """The same, in more histories."""


STEPS = settings(stateful_step_count=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
AnyDamage.TestCase.settings = settings(STEPS, max_examples=8)
MuchDamage.TestCase.settings = settings(STEPS, max_examples=200)
TestAnyDamage = AnyDamage.TestCase
TestMuchDamage = pytest.mark.long(MuchDamage.TestCase)
