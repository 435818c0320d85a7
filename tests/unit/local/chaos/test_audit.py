"""The audit after a chaos run reports each kind of lost, duplicated or leftover data."""

from collections.abc import Callable

import pytest
from deeplens.images.keys import original_key, processed_key
from deeplens.images.model import StageResult, Step
from deeplens.vectors.filters import point_id
from deeplens.vectors.ports import IndexedPoint

from local.chaos.audit import Audit, Expected, _audit_vectors, audit
from tests.harness.crashing import CrashingFlow, DieAt
from tests.unit.pipeline.test_crashes import BROKEN


class Settled(CrashingFlow):
    """Process three photos, the last of which is broken."""

    def __init__(self) -> None:
        super().__init__(DieAt())
        for number in range(2):
            self.accepted(number)
        self.accepted(2, BROKEN)
        self.settle()

    def audit(self, *pending: str) -> Audit:
        ids = frozenset(f"img_{number}" for number in range(3))
        expected = Expected(self.acme, ids, ids, frozenset({"img_2"}))
        return audit(self, [expected], pending)  # type: ignore[arg-type]


def without_row(flow: Settled) -> None:
    flow.images._rows[flow.acme.id].pop("img_0")


def without_object(flow: Settled) -> None:
    flow.stores.for_tenant(flow.acme).delete([processed_key("img_1")])


def without_vector(flow: Settled) -> None:
    flow.index.delete(flow.acme, ["img_0"])


def without_letter(flow: Settled) -> None:
    flow.dead_letters.kept.clear()


def settled_letter(flow: Settled) -> None:
    (letter_id,) = flow.dead_letters.kept
    flow.dead_letters.discard(letter_id, "why not", flow.clock.now())


def letter_of_a_completed_image(flow: Settled) -> None:
    flow.accepted(3, BROKEN)
    flow.settle()


def object_of_nobody(flow: Settled) -> None:
    flow.stores.for_tenant(flow.acme).put(original_key("img_9", ".jpg"), b"1", "image/jpeg")


def half_done(flow: Settled) -> None:
    flow.upload(1)
    flow.images.advance(flow.acme, [StageResult("img_1", 2, Step.EXTRACTED, "extract", flow.clock.now())])


def failed_for_no_reason(flow: Settled) -> None:
    flow.images.advance(flow.acme, [StageResult("img_0", 2, Step.FAILED, "extract", flow.clock.now())])


def metered_twice(flow: Settled) -> None:
    flow.usage.record([("again", flow.acme.id, "images.completed", 1, flow.clock.now())])


def test_the_audit_counts_completed_and_failed_photos() -> None:
    result = Settled().audit()
    assert result.violations == []
    assert dict(result.counts) == {"completed": 2, "failed_with_reason": 1}


@pytest.mark.parametrize(
    ("damage", "count"),
    [
        (without_row, "lost"),
        (without_object, "lost"),
        (without_vector, "lost"),
        (without_letter, "dead_letters"),
        (settled_letter, "dead_letters"),
        (letter_of_a_completed_image, "dead_letters"),
        (object_of_nobody, "orphans"),
        (half_done, "stuck"),
        (failed_for_no_reason, "wrong_ends"),
        (metered_twice, "wrong_ends"),
    ],
)
def test_the_audit_reports_each_kind_of_damage(damage: Callable[[Settled], None], count: str) -> None:
    flow = Settled()
    damage(flow)
    result = flow.audit()
    assert result.counts[count] >= 1
    assert result.violations


def test_the_audit_reports_pending_images_as_stuck() -> None:
    assert Settled().audit("img_0").counts["stuck"] == 1


@pytest.mark.parametrize(
    ("points", "count", "expected"),
    [
        ([("img_0", point_id("img_0")), ("img_0", "another")], "duplicate_vectors", 2),
        ([("img_0", "another")], "duplicate_vectors", 1),
        ([("img_0", point_id("img_0")), ("img_9", point_id("img_9"))], "orphans", 1),
        ([("img_0", point_id("img_0")), ("img_2", point_id("img_2"))], "orphans", 1),
        ([("img_0", point_id("img_0")), (None, "nobody's")], "orphans", 1),
        ([], "lost", 1),
    ],
)
def test_an_image_has_one_vector_under_its_own_id(
    points: list[tuple[str | None, str]], count: str, expected: int
) -> None:
    flow, found = Settled(), Audit()
    rows = {image_id: flow.row(image_id) for image_id in ("img_0", "img_2")}
    _audit_vectors(found, flow.acme, rows, [IndexedPoint(id_, image_id) for image_id, id_ in points])
    assert found.counts[count] == expected
