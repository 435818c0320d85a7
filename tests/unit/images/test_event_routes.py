"""The events of images over the API: one image's, and all of a tenant's from either end."""

from typing import Any

import pytest
from deeplens.images.model import Step

from tests.harness.api import World


def page(world: World, **query: Any) -> dict[str, Any]:
    answer = world.client.get("/v1/events", params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def told(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(event["imageId"], event["stage"]) for event in found["events"]]


def uploaded(world: World) -> str:
    return str(world.upload().json()["imageId"])


def test_an_images_events_have_times_and_reasons(world: World) -> None:
    image_id = uploaded(world)
    world.reach(image_id, Step.PREPROCESSED)
    world.reach(image_id, Step.FAILED, error_code="IMAGE_CORRUPT", error_message="cut off")

    answer = world.client.get(f"/v1/images/{image_id}/events").json()

    assert answer["imageId"] == image_id
    assert [(e["stage"], e["status"], e["durationSeconds"], e["errorCode"]) for e in answer["events"]] == [
        ("accept", "accepted", None, None),
        ("preprocessed", "preprocessed", 0.5, None),
        ("failed", "failed", 0.5, "IMAGE_CORRUPT"),
    ]
    assert answer["events"] == world.client.get(f"/v1/images/{image_id}").json()["timeline"]


def test_all_events_newest_first_page_by_page(world: World) -> None:
    ids = [uploaded(world) for _ in range(3)]
    world.reach(ids[0], Step.PREPROCESSED)
    expected = [(ids[0], "preprocessed"), *((one, "accept") for one in reversed(ids))]

    first = page(world, limit=3)
    world.reach(ids[1], Step.PREPROCESSED)  # does not move what is behind the cursor
    second = page(world, limit=3, cursor=first["nextCursor"])

    assert told(first) + told(second) == expected
    assert second["nextCursor"] is None
    assert len({event["eventId"] for event in first["events"] + second["events"]}) == 4


def test_the_tail_has_what_came_since_in_order(world: World) -> None:
    one = uploaded(world)
    tail = page(world)["tailCursor"]
    assert page(world, after=tail) == {"events": [], "nextCursor": None, "tailCursor": tail}

    two = uploaded(world)
    world.reach(one, Step.PREPROCESSED)
    world.reach(two, Step.PREPROCESSED)

    first = page(world, after=tail, limit=2)
    assert told(first) == [(two, "accept"), (one, "preprocessed")]
    second = page(world, after=first["tailCursor"], limit=2)
    assert told(second) == [(two, "preprocessed")]
    assert page(world, after=second["tailCursor"])["events"] == []


def test_filters_narrow_both_directions(world: World) -> None:
    tail = page(world)["tailCursor"]
    one, two = uploaded(world), uploaded(world)
    world.reach(one, Step.PREPROCESSED)
    world.reach(two, Step.FAILED, error_code="IMAGE_CORRUPT")

    for start in ({}, {"after": tail}):
        assert set(told(page(world, image_id=one, **start))) == {(one, "accept"), (one, "preprocessed")}
        assert set(told(page(world, stage="accept", **start))) == {(one, "accept"), (two, "accept")}
        assert told(page(world, status="preprocessed", **start)) == [(one, "preprocessed")]
        assert told(page(world, errors=True, **start)) == [(two, "failed")]
        assert told(page(world, status="failed", image_id=one, **start)) == []


def test_events_of_deleted_images_and_of_other_tenants_are_not_there(world: World) -> None:
    mine, gone = uploaded(world), uploaded(world)
    world.mark_deleted(gone)
    theirs = world.searchable(1, owner=world.other)

    assert told(page(world)) == [(mine, "accept")]
    assert told(page(world, image_id=theirs)) == []
    other = world.client_of(world.other).get("/v1/events").json()
    assert {image_id for image_id, _ in told(other)} == {theirs}
    assert world.client.get(f"/v1/images/{gone}/events").status_code == 404
    assert world.client.get(f"/v1/images/{theirs}/events").status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        {"cursor": "x"},
        {"after": "%%%"},
        {"cursor": "WyIyMDI2LTExLTIwVDAwOjAwOjAwIiwiMSJd"},  # no time zone
        {"cursor": "WyIyMDI2LTExLTIwVDAwOjAwOjAwKzAwOjAwIiwiaW1nX2EiXQ"},  # an image's id
        {"limit": 0},
        {"stage": "'; DROP TABLE"},
        {"status": "gone"},
        {"image_id": "img_%00"},
        {"type": "x"},
    ],
)
def test_odd_queries_are_refused(world: World, query: dict[str, Any]) -> None:
    answer = world.client.get("/v1/events", params=query)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")


def test_a_page_goes_one_way(world: World) -> None:
    tail = page(world)["tailCursor"]
    assert world.client.get("/v1/events", params={"after": tail, "cursor": tail}).status_code == 422
