import json
from typing import Any

import httpx
import pytest
from deeplens.errors import ImageCorrupt, InferenceBusy, ModelNotFound
from deeplens.search.matching import OVERFETCH

from tests.harness.api import World, picture


def search(world: World, seed: int = 0, **query: Any) -> httpx.Response:
    return world.client.post("/v1/search/image", params=query, files={"file": ("q.jpg", picture(seed))})


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [found["imageId"] for found in answer.json()["results"]]


def test_an_upload_is_found_by_its_own_bytes(world: World) -> None:
    image_id = world.searchable(3, tags=["sea"], metadata='{"iso": 200}')
    world.searchable(4)

    answer = search(world, 3)

    best = answer.json()["results"][0]
    assert (best["rank"], best["imageId"]) == (1, image_id)
    assert best["score"] >= 0.999
    assert (best["tags"], best["metadata"], best["fileName"]) == (["sea"], {"iso": 200}, "a.jpg")
    assert world.client.get(best["thumbnailUrl"]).status_code == 200
    assert answer.json()["model"] == {"name": "deeplens-visual", "version": "1"}
    assert set(answer.json()["timingsMs"]) == {"standardise", "embed", "search"}


def test_results_are_ranked_and_limited(world: World) -> None:
    for seed in range(6):
        world.searchable(seed)

    found = search(world, 0, limit=4).json()["results"]

    scores = [result["score"] for result in found]
    assert len(found) == 4
    assert scores == sorted(scores, reverse=True)
    assert [result["rank"] for result in found] == [1, 2, 3, 4]


def test_a_threshold_keeps_only_what_is_near(world: World) -> None:
    near = world.searchable(0)
    for seed in range(1, 5):
        world.searchable(seed)

    assert ids(search(world, 0, threshold=0.9999)) == [near]
    assert len(ids(search(world, 0, threshold=-1))) == 5


def test_filters_narrow_a_search(world: World) -> None:
    first = world.searchable(0, tags=["sea", "dawn"], metadata='{"iso": 200, "flash": false}')
    second = world.searchable(1, tags=["sea"], metadata='{"iso": "200"}')
    second_at = world.client.get(f"/v1/images/{second}").json()["uploadedAt"]

    assert set(ids(search(world, tag="sea"))) == {first, second}
    assert ids(search(world, tag=["sea", "dawn"])) == [first]
    assert ids(search(world, metadata=json.dumps({"iso": 200}))) == [first]
    assert ids(search(world, metadata=json.dumps({"iso": "200"}))) == [second]
    assert ids(search(world, metadata=json.dumps({"flash": False, "iso": 200}))) == [first]
    assert ids(search(world, uploaded_from=second_at)) == [second]
    assert ids(search(world, uploaded_before=second_at)) == [first]


def test_deleted_images_are_replaced_by_the_next_ones(world: World) -> None:
    for _ in range(OVERFETCH + 6):
        world.mark_deleted(world.searchable(0))
    alive = [world.searchable(1) for _ in range(3)]

    assert sorted(ids(search(world, 0, limit=3))) == sorted(alive)


def test_rows_decide_what_a_result_says(world: World) -> None:
    image_id = world.searchable(0, tags=["old"])
    world.images.amend(world.acme, image_id, tags=["new"], metadata=None)

    assert search(world, 0).json()["results"][0]["tags"] == ["new"]


def test_similar_images_leave_out_the_image_itself(world: World) -> None:
    image_id, twin = world.searchable(0), world.searchable(0)

    answer = world.client.get(f"/v1/images/{image_id}/similar")

    assert ids(answer) == [twin]
    assert ids(world.client.get(f"/v1/images/{image_id}/similar", params={"tag": "none"})) == []


def test_an_image_in_mid_pipeline_is_not_searchable_yet(world: World) -> None:
    image_id = world.upload().json()["imageId"]

    answer = world.client.get(f"/v1/images/{image_id}/similar")

    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/image-not-searchable")
    assert "accepted" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"region": "0,0,10"}, "#/region/0"),
        ({"region": ["0,0,9,9", "pct:0,0,-9,9"]}, "#/region/1"),
        ({"region": ["0,0,9,9"] * 9}, "#/region"),
        ({"combine": "worst"}, "#/combine"),
        ({"limit": 0}, "#/limit"),
        ({"limit": 101}, "#/limit"),
        ({"threshold": 1.5}, "#/threshold"),
        ({"threshold": "nan"}, "#/threshold"),
        ({"metadata": "camera=X100"}, "#/metadata"),
        ({"metadata": '{"a": []}'}, "#/metadata/a"),
        ({"tags": "sea"}, "#/tags"),
    ],
)
def test_search_parameters_are_checked(world: World, query: dict[str, Any], pointer: str) -> None:
    for answer in (search(world, **query), world.client.get("/v1/images/img_a/similar", params=query)):
        assert answer.status_code == 422
        assert all(fault["in"] == "query" for fault in answer.json()["errors"])
        assert answer.json()["errors"][0]["pointer"].startswith(pointer)


@pytest.mark.parametrize(
    ("body", "status"), [(b"", 422), (b"text", 415), (b"\xff\xd8\xff", 422), (picture() + bytes(4_400_000), 413)]
)
def test_a_bad_query_image_is_refused(world: World, body: bytes, status: int) -> None:
    answer = world.client.post("/v1/search/image", files={"file": ("q.jpg", body)})

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("failure", "status", "retry_after"),
    [
        (InferenceBusy("shed", retry_after_seconds=7), 503, "7"),
        (ModelNotFound("not loaded"), 503, "5"),
        (ImageCorrupt("not decodable"), 422, None),
    ],
)
def test_what_the_endpoint_says_decides_the_answer(
    world: World, failure: Exception, status: int, retry_after: str | None
) -> None:
    world.embedder.failure = failure

    answer = search(world)

    assert (answer.status_code, answer.headers.get("retry-after")) == (status, retry_after)


def test_a_search_stores_nothing(world: World) -> None:
    search(world)

    assert world.stored() == world.publisher.sent == []
