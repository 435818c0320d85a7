"""What maintenance makes of what it sees, as tables."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from deeplens.images.keys import derived_keys, image_of
from deeplens.images.model import ImageRecord, Step, Tombstone
from deeplens.maintenance.model import (
    MAX_EXAMPLES,
    Finding,
    MaintenanceRun,
    Report,
    judge_object,
    judge_point,
    judge_row,
    report_of,
)
from deeplens.storage.ports import ObjectInfo
from deeplens.vectors.ports import IndexedPoint

BEFORE = datetime(2026, 11, 20, tzinfo=UTC)
OLD, YOUNG = BEFORE - timedelta(seconds=1), BEFORE
EXPECTED = ["images/img_1.jpg", *derived_keys("img_1")]


def row(step: Step = Step.COMPLETED, updated_at: datetime = OLD) -> ImageRecord:
    known: dict[str, Any] = {"tags": (), "metadata": {}, "generation": 1, "revision": 1, "sha256": "", "size_bytes": 1}
    return ImageRecord(
        id="img_1",
        file_name="a.jpg",
        storage_path="s3://b/images/img_1.jpg",
        mime_type="image/jpeg",
        uploaded_at=OLD,
        updated_at=updated_at,
        step=step,
        **known,
    )


def tombstone(at: datetime = OLD, receipt: dict[str, Any] | None = None) -> Tombstone:
    return Tombstone("img_1", at, receipt)


@pytest.mark.parametrize(
    ("known", "standing", "lacking", "kinds"),
    [
        (row(), EXPECTED, [], []),
        (row(), EXPECTED, ["m 1", "m 2"], ["row-without-vector", "row-without-vector"]),
        (row(), EXPECTED[:1], [], ["row-without-derived"]),
        (row(), EXPECTED[:1], ["m 1"], ["row-without-derived"]),  # made again, vectors included
        (row(), EXPECTED[1:], ["m 1"], ["row-without-object"]),
        (row(Step.ACCEPTED), [], [], ["row-without-object"]),
        (row(Step.EXTRACTED), EXPECTED[:1], [], []),  # under way
        (row(Step.FAILED), [], [], []),
        (row(updated_at=YOUNG), [], ["m 1"], []),
        (tombstone(), EXPECTED, [], ["half-done-delete"]),
        (tombstone(YOUNG), EXPECTED, [], []),
        (tombstone(receipt={}), EXPECTED, [], []),  # done since the first look
    ],
)
def test_a_row_is_judged_by_what_it_lacks(
    known: ImageRecord | Tombstone, standing: list[str], lacking: list[str], kinds: list[str]
) -> None:
    assert [finding.kind for finding in judge_row(known, BEFORE, EXPECTED, standing, lacking)] == kinds


def test_a_row_whose_original_lies_elsewhere_is_left_alone() -> None:
    assert judge_row(row(), BEFORE, [], []) == []


@pytest.mark.parametrize(
    ("key", "modified_at", "known", "kind"),
    [
        ("images/img_1.jpg", OLD, None, "object-without-row"),
        ("processed/img_1.jpg", OLD, None, "derived-without-row"),
        ("thumbnails/small/img_1.jpg", OLD, tombstone(receipt={}), "derived-without-row"),
        ("images/img_1.jpg", OLD, tombstone(), None),  # its deletion is under way
        ("images/img_1.jpg", OLD, tombstone(YOUNG, {}), None),
        ("images/img_1.jpg", OLD, row(), None),
        ("images/img_1.jpg", OLD, row(Step.FAILED), None),
        ("images/img_1.jpg", YOUNG, None, None),
    ],
)
def test_an_object_is_left_over_when_its_image_is_gone(
    key: str, modified_at: datetime, known: ImageRecord | Tombstone | None, kind: str | None
) -> None:
    verdict = judge_object(ObjectInfo(key, 1, "", "", modified_at), known, BEFORE)
    assert (verdict.kind if verdict else None) == kind


@pytest.mark.parametrize(
    ("uploaded_at", "known", "orphan"),
    [
        (OLD, None, True),
        (None, None, True),
        (YOUNG, None, False),
        (OLD, tombstone(receipt={}), True),
        (OLD, tombstone(YOUNG, {}), False),
        (OLD, tombstone(), False),
        (OLD, row(), False),
    ],
)
def test_a_vector_is_left_over_when_its_image_is_gone(
    uploaded_at: datetime | None, known: ImageRecord | Tombstone | None, orphan: bool
) -> None:
    point = IndexedPoint("p", "img_1", uploaded_at.isoformat() if uploaded_at else None)
    assert bool(judge_point(point, known, BEFORE)) is orphan


@pytest.mark.parametrize(
    ("key", "image_id"),
    [
        ("images/img_1.jpg", "img_1"),
        ("thumbnails/medium/img_1.jpg", "img_1"),
        ("images/img_1", None),
        ("images/img_1.tar.gz", None),
        ("images/sub/img_1.jpg", None),
        ("thumbnails/large/img_1.jpg", None),
        ("backup/images/img_1.jpg", None),
        ("images/IMG_1.jpg", None),
    ],
)
def test_only_keys_that_deeplens_gives_belong_to_an_image(key: str, image_id: str | None) -> None:
    assert image_of(key) == image_id


def test_a_report_adds_up_and_names_the_first_findings() -> None:
    findings = [Finding("object-without-row", f"images/img_{n}.jpg") for n in range(MAX_EXAMPLES)]
    one = report_of("objects", 1000, findings, repaired=True, freed=7)
    both = one + report_of("rows", 5, [Finding("row-without-vector", "img_x", "m 1")], repaired=False)
    assert both.checked == {"objects": 1000, "rows": 5}
    assert both.found == {"object-without-row": MAX_EXAMPLES, "row-without-vector": 1}
    assert both.repaired == {"object-without-row": MAX_EXAMPLES}
    assert (len(both.examples), both.examples[0]["subject"], both.bytes_freed) == (MAX_EXAMPLES, "images/img_0.jpg", 7)


def test_a_run_moves_slice_by_slice() -> None:
    run = MaintenanceRun("mnt_1", "tenant_a", "sweep", False, BEFORE, BEFORE)
    moved = run.moved("objects:", Report({"rows": 2}), BEFORE, None).moved("end", Report({"rows": 3}), BEFORE, BEFORE)
    assert (moved.slices, moved.cursor, moved.report.checked, moved.ended_at) == (2, "end", {"rows": 5}, BEFORE)
