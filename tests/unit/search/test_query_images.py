"""Several query images, parts of images, and what a score means."""

import json
import math
from dataclasses import replace
from io import BytesIO
from typing import Any

import httpx
import pytest
from deeplens.embedding.model import Thresholds
from deeplens.search.query_images import mean_direction
from PIL import Image

from tests.harness.api import World, picture


def side_by_side(*seeds: int) -> bytes:
    """Pictures of 64 × 48 pixels in a row."""
    sheet, out = Image.new("RGB", (64 * len(seeds), 48)), BytesIO()
    for place, seed in enumerate(seeds):
        sheet.paste(Image.open(BytesIO(picture(seed, format="PNG"))), (64 * place, 0))
    sheet.save(out, "PNG")
    return out.getvalue()


def search(world: World, *bodies: bytes, **query: Any) -> httpx.Response:
    files = [("file", ("q.png", body)) for body in bodies]
    return world.client.post("/v1/search/image", params=query, files=files)


def scores(answer: httpx.Response) -> dict[str, float]:
    assert answer.status_code == 200, answer.text
    return {found["imageId"]: found["score"] for found in answer.json()["results"]}


@pytest.mark.parametrize(("left", "seed"), [("0", 1), ("64", 2), ("128", 3)])
@pytest.mark.parametrize("unit", ["pixels", "percent"])
def test_a_region_searches_with_that_part_only(world: World, left: str, seed: int, unit: str) -> None:
    expected_ids = {number: world.searchable(number) for number in (1, 2, 3)}[seed]
    region = f"{left},0,64,48" if unit == "pixels" else f"pct:{int(left) / 1.92:.4f},0,33.3333,100"

    ranking = scores(search(world, side_by_side(1, 2, 3), region=region))

    assert max(ranking, key=ranking.__getitem__) == expected_ids
    assert ranking[expected_ids] >= 0.999


def test_several_regions_are_several_query_images(world: World) -> None:
    first, second, third = (world.searchable(number) for number in (1, 2, 3))

    ranking = scores(search(world, side_by_side(1, 2, 3), region=["0,0,64,48", "64,0,64,48"]))

    assert ranking[first] >= 0.999
    assert ranking[second] >= 0.999
    assert ranking[third] < 0.999


@pytest.mark.parametrize("region", ["64,0,10,10", "0,48,10,10", "0,0,0,10", "pct:100,0,5,5", "pct:0,0,0.5,0.5"])
def test_a_region_outside_the_image_is_refused_by_name(world: World, region: str) -> None:
    answer = search(world, picture(0), region=["0,0,9,9", region])

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "#/region/1"
    assert "64 × 48" in answer.json()["errors"][0]["detail"]


def test_a_region_is_cut_off_at_the_images_edge(world: World) -> None:
    image_id = world.searchable(2)

    assert scores(search(world, side_by_side(1, 2), region="64,0,5000,5000"))[image_id] >= 0.999


def test_the_best_of_several_images_counts_by_default(world: World) -> None:
    first, second = world.searchable(1), world.searchable(2)
    alone = [scores(search(world, picture(seed))) for seed in (1, 2)]

    together = scores(search(world, picture(1), picture(2)))

    assert together == {one: pytest.approx(max(found[one] for found in alone)) for one in (first, second)}


def test_the_average_is_one_query(world: World) -> None:
    first, second = world.searchable(1), world.searchable(2)

    ranking = scores(search(world, picture(1), picture(2), combine="average"))

    assert ranking[first] == pytest.approx(ranking[second], abs=1e-3)
    assert ranking[first] < 0.999


def test_nine_query_images_are_too_many(world: World) -> None:
    assert search(world, *[picture(0)] * 9).status_code in (400, 422)
    too_many = search(world, *[picture(0)] * 5, region=["0,0,9,9", "9,9,9,9"])
    assert (too_many.status_code, too_many.json()["errors"][0]["pointer"]) == (422, "#/region")


def test_an_upload_still_takes_one_file(world: World) -> None:
    files = [("file", ("a.jpg", picture(1))), ("file", ("b.jpg", picture(2)))]

    assert world.client.post("/v1/images", files=files).status_code == 400
    assert world.stored() == []


def test_the_image_itself_can_be_left_out(world: World) -> None:
    for _ in range(12):
        world.searchable(0)
    others = {world.searchable(1), world.searchable(2)}

    assert set(scores(search(world, picture(0), limit=2, exclude_self=True))) == others
    assert not others & set(scores(search(world, picture(0), limit=2)))


def test_ids_search_together_and_are_left_out(world: World) -> None:
    first, second, twin, other = (world.searchable(seed) for seed in (1, 2, 2, 3))

    answer = world.client.post("/v1/search/similar", json={"imageIds": [first, second, first]})

    assert next(iter(scores(answer))) == twin
    assert set(scores(answer)) == {twin, other}
    average = world.client.post("/v1/search/similar?combine=average", json={"imageIds": [first, second]})
    assert scores(average)[twin] < scores(answer)[twin]


@pytest.mark.parametrize(
    ("ids", "status"), [([], 422), (["img_a"] * 9, 422), (["../x"], 422), (["img_\x00"], 422), (["img_unknown"], 404)]
)
def test_ids_are_checked(world: World, ids: list[str], status: int) -> None:
    assert world.client.post("/v1/search/similar", json={"imageIds": ids}).status_code == status


def test_an_id_that_is_not_searchable_yet_says_so(world: World) -> None:
    image_id = world.upload().json()["imageId"]

    answer = world.client.post("/v1/search/similar", json={"imageIds": [image_id]})

    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/image-not-searchable")


def test_a_region_of_a_stored_image_is_in_its_own_pixels(world: World) -> None:
    answer = world.client.post("/v1/images", files={"file": ("a.png", side_by_side(1, 2))})
    image_id, second = answer.json()["imageId"], world.searchable(2)
    world.process(image_id, side_by_side(1, 2), width=1280, height=480)

    found = world.client.get(f"/v1/images/{image_id}/similar", params={"region": "640,0,640,480"})

    assert scores(found)[second] >= 0.999
    assert image_id not in scores(found)


@pytest.mark.parametrize(
    ("score", "label"),
    [(1.0, "exact"), (0.999, "exact"), (0.99, "near-duplicate"), (0.95, "near-duplicate"), (0.94, "similar"),
     (0.8, "similar"), (0.79, "none"), (-1.0, "none")],
)  # fmt: skip
def test_a_score_is_labelled_by_its_models_thresholds(score: float, label: str) -> None:
    assert Thresholds(0.999, 0.95, 0.8).label(score) == label


def test_results_carry_the_label(world: World) -> None:
    world.searchable(0)

    best = search(world, picture(0)).json()["results"][0]

    assert best["match"] == "exact"


def test_results_of_a_model_without_thresholds_carry_none(world: World) -> None:
    world.searchable(0)
    world.tenants.add(replace(world.acme, thresholds=None))

    assert search(world, picture(0)).json()["results"][0]["match"] is None


def test_opposite_vectors_have_no_mean() -> None:
    assert mean_direction([[1.0, 0.0], [-1.0, 0.0]]) is None
    assert mean_direction([[1.0, 0.0], [0.0, 1.0]]) == pytest.approx([math.sqrt(0.5)] * 2)


def test_filters_apply_to_several_images_too(world: World) -> None:
    world.searchable(1, metadata=json.dumps({"iso": 100}))
    expected_ids = world.searchable(2, metadata=json.dumps({"iso": 200}))

    assert list(scores(search(world, picture(1), picture(2), metadata=json.dumps({"iso": 200})))) == [expected_ids]
