"""Search and neighbours: order, thresholds, filters and exclusions of every ``VectorIndex``."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from deeplens.tenants.model import Tenant
from deeplens.vectors.ports import Point, SearchFilter, VectorIndex

from tests.integration.vectors.conftest import DIMENSIONS, NOON, NewTenant, ids, point, vector


def test_matches_come_best_first_with_their_cosine_similarity(index: VectorIndex, tenant: Tenant) -> None:
    index.upsert(
        tenant,
        [
            point(tenant, "far", -1),
            point(tenant, "same", 5),
            point(tenant, "near", 1, 1),
            point(tenant, "across", 0, 1),
        ],
    )
    matches = index.search(tenant, vector(2), limit=10)
    assert [match.image_id for match in matches] == ["same", "near", "across", "far"]
    assert [match.score for match in matches] == pytest.approx([1, 0.5**0.5, 0, -1], abs=1e-5)
    assert all(-1 <= match.score <= 1 for match in matches)


def test_no_more_matches_than_asked_for(index: VectorIndex, tenant: Tenant) -> None:
    index.upsert(tenant, [point(tenant, f"img_{n}", 1, n) for n in range(5)])
    assert [match.image_id for match in index.search(tenant, vector(1), limit=2)] == ["img_0", "img_1"]


def test_a_threshold_keeps_what_is_at_least_as_similar(index: VectorIndex, tenant: Tenant) -> None:
    index.upsert(tenant, [point(tenant, "near", 1, 1), point(tenant, "across", 0, 1)])
    assert [match.image_id for match in index.search(tenant, vector(1), limit=10, threshold=0.7)] == ["near"]
    assert index.search(tenant, vector(1), limit=10, threshold=0.8) == []


def test_an_identical_image_passes_a_threshold_of_one(index: VectorIndex, tenant: Tenant) -> None:
    values = np.random.default_rng(7).standard_normal(DIMENSIONS).tolist()
    index.upsert(tenant, [Point("twin", values, point(tenant, "twin").payload)])
    assert [match.image_id for match in index.search(tenant, values, limit=1, threshold=1.0)] == ["twin"]


def test_a_match_carries_its_payload(index: VectorIndex, tenant: Tenant) -> None:
    given = point(tenant, "img_a", 1, tags=("red", "blue"), metadata={"camera": "X100", "nested": {"no": 1}}, width=640)
    index.upsert(tenant, [given])
    [match] = index.search(tenant, vector(1), limit=1)
    assert match.payload == given.payload
    assert match.payload["tenant_id"] == tenant.id
    assert match.payload["metadata"] == {"camera": "X100"}


def test_every_tag_asked_for_must_be_there(index: VectorIndex, tenant: Tenant) -> None:
    index.upsert(tenant, [point(tenant, "both", 1, tags=("red", "blue")), point(tenant, "one", 1, tags=("red",))])
    assert ids(index, tenant, tags=("red",)) == {"both", "one"}
    assert ids(index, tenant, tags=("red", "blue")) == {"both"}
    assert ids(index, tenant, tags=("green",)) == set()


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("x", {"text"}),
        ("X", set()),
        (1, {"int", "float"}),
        (1.0, {"int", "float"}),
        (1.5, {"fraction"}),
        (True, {"true"}),
        (False, {"false"}),
        ("1", {"digit"}),
        (2**70, {"huge"}),
        (2**70 + 1, set()),
    ],
)
def test_metadata_is_compared_by_value_and_type(
    index: VectorIndex, tenant: Tenant, asked: Any, found: set[str]
) -> None:
    values = {"text": "x", "int": 1, "float": 1.0, "fraction": 1.5, "true": True, "false": False, "digit": "1"}
    given = values | {"huge": 2**70, "null": None, "list": [1]}
    index.upsert(tenant, [point(tenant, name, 1, metadata={"key": value}) for name, value in given.items()])
    assert ids(index, tenant, metadata={"key": asked}) == found


@pytest.mark.parametrize("key", ["camera", "exif.iso", 'with "quotes"', "naïve key", "a[0]", "", "a=b", "日本"])
def test_metadata_is_found_under_any_key(index: VectorIndex, tenant: Tenant, key: str) -> None:
    index.upsert(tenant, [point(tenant, "img_a", 1, metadata={key: "v", "other": "w"}), point(tenant, "img_b", 1)])
    assert ids(index, tenant, metadata={key: "v"}) == {"img_a"}
    assert ids(index, tenant, metadata={key: "v", "other": "v"}) == set()


def test_upload_time_includes_its_start_and_excludes_its_end(index: VectorIndex, tenant: Tenant) -> None:
    hours = [point(tenant, f"{n}h", 1, uploaded_at=NOON + timedelta(hours=n)) for n in range(3)]
    index.upsert(tenant, [*hours, point(tenant, "just before", 1, uploaded_at=NOON - timedelta(microseconds=1))])
    assert ids(index, tenant, uploaded_from=NOON) == {"0h", "1h", "2h"}
    assert ids(index, tenant, uploaded_before=NOON + timedelta(hours=1)) == {"0h", "just before"}
    in_berlin = (NOON + timedelta(hours=1)).astimezone(tz=None)
    assert ids(index, tenant, uploaded_from=in_berlin, uploaded_before=NOON + timedelta(hours=2)) == {"1h"}


def test_excluded_images_leave_room_for_others(index: VectorIndex, tenant: Tenant) -> None:
    index.upsert(tenant, [point(tenant, f"img_{n}", 1, n) for n in range(3)])
    where = SearchFilter(exclude_image_ids=("img_0", "img_unknown"))
    assert [match.image_id for match in index.search(tenant, vector(1), limit=1, where=where)] == ["img_1"]


def test_neighbours_of_many_images_come_best_first_without_themselves(index: VectorIndex, tenant: Tenant) -> None:
    turned = {f"img_{n}": (1.0, n / 100) for n in range(150)}
    index.upsert(tenant, [point(tenant, image_id, *direction) for image_id, direction in turned.items()])
    found = index.neighbours(tenant, dict.fromkeys([*turned, "img_unknown"], SearchFilter()), limit=3, threshold=0.9)
    assert found.keys() == turned.keys()
    assert [match.image_id for match in found["img_0"]] == ["img_1", "img_2", "img_3"]
    assert {match.image_id for match in found["img_100"][:2]} == {"img_99", "img_101"}
    assert all(image_id not in [match.image_id for match in matches] for image_id, matches in found.items())
    assert all(0.9 <= match.score <= 1 for matches in found.values() for match in matches)
    assert index.neighbours(tenant, {"img_0": SearchFilter()}, limit=200, threshold=0.99999)["img_0"] == []
    assert index.neighbours(tenant, {}, limit=3, threshold=0.9) == {}


def test_many_equal_points_do_not_hide_behind_an_image_itself(index: VectorIndex, tenant: Tenant) -> None:
    index.upsert(tenant, [point(tenant, f"img_{n}", 1) for n in range(6)])
    matches = index.neighbours(tenant, {"img_5": SearchFilter()}, limit=5, threshold=1)
    assert {match.image_id for match in matches["img_5"]} == {f"img_{n}" for n in range(5)}


def test_frames_are_neighbours_where_they_are_wanted_and_never_of_their_own_video(
    index: VectorIndex, tenant: Tenant
) -> None:
    def frame(image_id: str, video_id: str) -> Point:
        made = point(tenant, image_id, 1)
        return replace(made, payload={**made.payload, "video_id": video_id})

    index.upsert(tenant, [point(tenant, "img_a", 1), point(tenant, "img_b", 1)])
    index.upsert(tenant, [frame("img_c", "vid_1"), frame("img_d", "vid_1"), frame("img_e", "vid_2")])
    filters = {"img_a": SearchFilter(without_frames=True), "img_c": SearchFilter(exclude_video_ids=("vid_1",))}
    found = index.neighbours(tenant, filters, limit=9, threshold=0.9)
    assert {match.image_id for match in found["img_a"]} == {"img_b"}
    assert {match.image_id for match in found["img_c"]} == {"img_a", "img_b", "img_e"}


def test_another_tenants_points_are_no_neighbours(index: VectorIndex, new_tenant: NewTenant) -> None:
    one, other = new_tenant(), new_tenant()
    index.upsert(one, [point(one, "img_a", 1)])
    index.upsert(other, [point(other, "img_b", 1)])
    assert index.neighbours(one, dict.fromkeys(["img_a", "img_b"], SearchFilter()), limit=3, threshold=0.5) == {
        "img_a": []
    }
