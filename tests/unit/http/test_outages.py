"""What clients hear while a shared part is away: to come again where it is needed, and nothing where it is not."""

from collections.abc import Callable

import httpx
import pytest

from tests.harness.api import World, picture
from tests.harness.faults import PARTS, Faults, Part

NEEDED: tuple[Part, ...] = ("store", "tenant database", "broker")
UNNEEDED = tuple(part for part in PARTS if part not in (*NEEDED, "platform database"))
COUNTING = 3
"""The call that counts a request: nobody is refused because that failed."""


@pytest.fixture
def faults(world: World) -> Faults:
    return Faults(world)


def assert_come_again(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["type"] == "/problems/temporarily-unavailable"


@pytest.mark.parametrize("part", [*NEEDED, "platform database"])
def test_an_upload_is_never_accepted_without_a_part_that_it_needs(world: World, faults: Faults, part: Part) -> None:
    faults.away.add(part)
    for key in ("one", "two", "one"):
        assert_come_again(world.upload(key=key))

    faults.away.clear()
    accepted = world.upload(key="one")
    assert accepted.status_code == 202
    assert world.stored() == [f"images/{accepted.json()['imageId']}.jpg"] or part == "broker"
    assert accepted.json()["imageId"] in [message.event.image_id for message in world.publisher.sent]  # type: ignore[attr-defined]


@pytest.mark.parametrize("call", range(1, 9))
@pytest.mark.parametrize("mode", ["away", "answer lost"])
def test_an_upload_that_a_part_leaves_half_done_is_not_accepted(
    world: World, faults: Faults, call: int, mode: str
) -> None:
    """Whichever call it is that goes unanswered; the same key then resumes."""
    with faults.at(call, "answer lost") if mode == "answer lost" else faults.from_call(call):
        first = world.upload(key="one")
    if first.status_code == 202:
        assert call > faults.calls or faults.struck == "count"  # nobody is refused for want of counting
    else:
        assert_come_again(first)
    assert world.upload(key="one").status_code == 202
    assert len(world.stored()) == 1


@pytest.mark.parametrize("part", UNNEEDED)
def test_uploads_are_accepted_without_the_parts_that_only_the_pipeline_needs(
    world: World, faults: Faults, part: Part
) -> None:
    faults.away.add(part)
    assert world.upload().status_code == 202


REQUESTS: dict[str, tuple[Part, Callable[[World, str], httpx.Response]]] = {
    "delete": ("broker", lambda world, image_id: world.client.delete(f"/v1/images/{image_id}")),
    "read": ("tenant database", lambda world, image_id: world.client.get(f"/v1/images/{image_id}")),
    "similar": ("index", lambda world, image_id: world.client.get(f"/v1/images/{image_id}/similar")),
    "search": (
        "inference",
        lambda world, _: world.client.post("/v1/search/image", files={"file": ("q.jpg", picture(1))}),
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_other_requests_say_when_to_come_again(world: World, faults: Faults, name: str) -> None:
    part, request = REQUESTS[name]
    with faults.unnoticed():
        image_id = world.searchable()
    faults.away.add(part)
    assert_come_again(request(world, image_id))
    faults.away.clear()
    assert request(world, image_id).status_code < 300
