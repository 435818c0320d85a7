"""Search by words, and what is said where the model knows none."""

from dataclasses import replace
from typing import Any

import httpx
import pytest

from tests.harness.api import MODEL, World
from tests.unit.search.test_query_images import picture, scores


@pytest.fixture
def world() -> World:
    """The tenant's model embeds texts, which are names of colours here."""
    made = World()
    made.embedder.texts.add(MODEL)
    made.acme = replace(made.acme, text=True)
    made.tenants.add(made.acme)
    return made


def search(world: World, text: Any, **query: Any) -> httpx.Response:
    return world.client.post("/v1/search/text", json={"text": text}, params=query)


def colour(seed: int) -> str:
    """The text that means the picture of a seed."""
    from io import BytesIO

    from PIL import Image

    red, green, blue = Image.open(BytesIO(picture(seed, format="PNG"))).convert("RGB").getpixel((0, 0))  # type: ignore[misc]
    return f"#{red:02x}{green:02x}{blue:02x}"


def test_a_text_finds_the_image_that_it_describes(world: World) -> None:
    expected_ids = {seed: world.searchable(seed) for seed in (1, 2, 3)}

    for seed, image_id in expected_ids.items():
        ranking = scores(search(world, colour(seed)))
        assert max(ranking, key=ranking.__getitem__) == image_id


def test_filters_and_limits_apply(world: World) -> None:
    world.searchable(1)
    tagged = world.searchable(2, tags=["sea"])

    assert list(scores(search(world, colour(1), tag="sea"))) == [tagged]
    assert len(scores(search(world, colour(1), limit=1))) == 1


def test_a_model_without_a_text_tower_says_what_to_do(world: World) -> None:
    world.tenants.add(replace(world.acme, text=False))

    answer = search(world, "a harbour")

    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/text-unsupported")
    assert "POST /v1/admin/tenants/tenant_acme/models" in answer.json()["detail"]


def test_an_endpoint_that_lost_its_text_tower_is_an_answer(world: World) -> None:
    world.embedder.texts.clear()

    assert search(world, "red").status_code == 409


@pytest.mark.parametrize("text", ["", "   ", "a" * 2001, None, 7, ["a"]])
def test_a_text_is_checked(world: World, text: Any) -> None:
    answer = search(world, text)

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#/text")


def test_half_a_character_is_no_text(world: World) -> None:
    """JSON can escape what UTF-8 cannot hold."""
    headers = {"Content-Type": "application/json"}
    answer = world.client.post("/v1/search/text", content=rb'{"text": "a \ud800 b"}', headers=headers)

    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json()["errors"][0]["pointer"] == "#/text"


def test_another_tenants_images_are_never_found(world: World) -> None:
    theirs = world.searchable(1, owner=world.other)

    assert theirs not in scores(search(world, colour(1)))
