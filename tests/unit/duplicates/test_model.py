"""What makes duplicates, and how groups come and go: pure decisions, as tables."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from deeplens.duplicates.model import (
    DuplicateVerdict,
    Evidence,
    Joined,
    evidence_of,
    in_order,
    join,
    merge_id_of,
    pair_id,
    split,
    united,
    verdict_of,
)
from deeplens.embedding.model import Thresholds
from deeplens.images.model import ImageRecord, Step

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
THRESHOLDS = Thresholds(exact=0.97, near_duplicate=0.72, similar=0.55)


def image(image_id: str = "img_a", width: int = 640, height: int = 480, minutes: int = 0) -> ImageRecord:
    at = NOON + timedelta(minutes=minutes)
    return ImageRecord(
        id=image_id,
        file_name="a",
        storage_path="",
        mime_type="image/jpeg",
        size_bytes=1,
        sha256=image_id,
        uploaded_at=at,
        updated_at=at,
        generation=1,
        step=Step.COMPLETED,
        revision=1,
        tags=(),
        metadata={},
        width=width,
        height=height,
    )


@pytest.mark.parametrize(
    ("score", "distance", "verdict"),
    [
        (1.0, 0, "re-encoded"),
        (0.97, 4, "re-encoded"),
        (0.97, 5, "near"),
        (0.96, 4, "near"),
        (0.72, 10, "near"),
        (0.71, 10, None),  # the model is not sure, and the pHashes are only close
        (0.55, 4, "near"),  # the model is not sure, but the pHashes are all but equal
        (0.54, 0, None),
        (1.0, 11, None),  # as the model finds a mirrored picture
        (1.0, None, None),
        (None, 0, None),
    ],
)
def test_the_model_proposes_and_the_hash_confirms(
    score: float | None, distance: int | None, verdict: DuplicateVerdict | None
) -> None:
    assert verdict_of(Evidence(False, score, distance, 1.0, 1.0), True, THRESHOLDS) == verdict


def test_the_same_bytes_need_no_other_evidence() -> None:
    assert verdict_of(Evidence(True), False, None) == "exact"


def test_without_thresholds_or_comparable_shapes_nothing_is_near() -> None:
    evidence = Evidence(False, 1.0, 0, 1.0, 1.0)
    assert verdict_of(evidence, True, None) is None
    assert verdict_of(evidence, False, THRESHOLDS) is None


@pytest.mark.parametrize(
    ("other", "ratio", "pixels", "comparable"),
    [
        (image("img_b", 640, 480), 1.0, 1.0, True),
        (image("img_b", 320, 240), 1.0, 0.25, True),
        (image("img_b", 1280, 960), 1.0, 0.25, True),
        (image("img_b", 43, 32), 1.0078, 0.0045, True),  # a whole number of pixels
        (image("img_b", 640, 460), 1.0435, 0.9583, False),
        (image("img_b", 480, 640), 1.7778, 1.0, False),
        (image("img_b", 16, 12), 1.0, 0.0006, False),  # too small for a hash to say anything
    ],
    ids=lambda value: f"{value.width}x{value.height}" if isinstance(value, ImageRecord) else None,
)
def test_shapes_have_to_agree(other: ImageRecord, ratio: float, pixels: float, comparable: bool) -> None:
    hashes = {"img_a": 0b1011, "img_b": 0b0001}
    assert evidence_of(image(), other, 0.9, hashes) == (Evidence(False, 0.9, 2, ratio, pixels), comparable)
    assert evidence_of(other, image(), 0.9, hashes) == evidence_of(image(), other, 0.9, hashes)


def test_evidence_says_what_is_not_known() -> None:
    unknown = replace(image("img_b"), width=None)
    assert evidence_of(image(), unknown, None, {"img_a": 1}) == (Evidence(False), False)


def test_a_pair_has_one_id_in_either_order_and_the_earlier_image_first() -> None:
    assert pair_id("img_a", "img_b") == pair_id("img_b", "img_a") != pair_id("img_a", "img_c")
    assert merge_id_of(pair_id("img_a", "img_b")) != pair_id("img_a", "img_b")
    early, late = image("img_z", minutes=0), image("img_a", minutes=1)
    assert in_order(late, early) == in_order(early, late) == (early, late)
    same = image("img_b")
    assert in_order(same, image("img_a")) == (image("img_a"), same)


def test_tags_and_metadata_are_united_and_the_kept_ones_win() -> None:
    kept = replace(image(minutes=5), tags=("b", "a"), metadata={"iso": 100})
    old = replace(image("img_b"), tags=("c", "a"), metadata={"iso": 200, "camera": "X"})
    young = replace(image("img_c", minutes=9), tags=("d",), metadata={"camera": "Y", "lens": "Z"})
    expected = (("b", "a", "c", "d"), {"iso": 100, "camera": "X", "lens": "Z"})
    assert united(kept, [young, old]) == united(kept, [old, young]) == expected


def test_what_is_united_stays_within_the_limits_of_an_image() -> None:
    kept = replace(image(), tags=tuple(f"a{n}" for n in range(40)), metadata={f"a{n}": n for n in range(40)})
    other = replace(image("img_b"), tags=tuple(f"b{n}" for n in range(40)), metadata={f"b{n}": n for n in range(40)})
    tags, metadata = united(kept, [other])
    assert (len(tags), len(metadata)) == (50, 50)
    assert set(kept.tags) < set(tags)
    assert kept.metadata.items() <= metadata.items()


def test_links_join_groups_and_the_oldest_keeps_its_id() -> None:
    group_of = {"a": "old", "d": "young", "x": "apart"}
    born = {"old": NOON, "young": NOON + timedelta(1), "apart": NOON}
    joined = join([("a", "b"), ("b", "d"), ("x", "y"), ("p", "q")], group_of, born)
    assert sorted(joined, key=str) == sorted(
        [
            Joined("old", ("young",), frozenset({"b"})),
            Joined("apart", (), frozenset({"y"})),
            Joined(None, (), frozenset({"p", "q"})),
        ],
        key=str,
    )


def test_members_of_one_group_are_one_component_without_a_link_between_them() -> None:
    (joined,) = join([("a", "p"), ("b", "q")], {"a": "g", "b": "g"}, {"g": NOON})
    assert joined == Joined("g", (), frozenset({"p", "q"}))


@pytest.mark.parametrize(
    ("links", "parts"),
    [
        ([("a", "b"), ("c", "d"), ("d", "e")], [{"c", "d", "e"}, {"a", "b"}]),
        ([("a", "b"), ("c", "d")], [{"a", "b"}, {"c", "d"}]),
        ([("a", "b"), ("b", "elsewhere"), ("elsewhere", "c")], [{"a", "b"}]),
        ([], []),
    ],
)
def test_a_group_falls_into_what_hangs_together(links: list[tuple[str, str]], parts: list[set[str]]) -> None:
    assert split({"a", "b", "c", "d", "e"}, links) == parts
