"""Review of duplicates over HTTP: lists, comparison, decisions, merges and their undoing, refusals at upload."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from deeplens.events.images import FeatureExtractionRequested
from deeplens.events.maintenance import ImageMaintenance
from deeplens.tenants.model import DuplicatePolicy

from tests.harness.api import World, picture


@pytest.fixture
def pair(world: World) -> tuple[str, str, str]:
    """A group of two: its id, the older image and the younger one."""
    one, other = world.searchable(1, tags=["one"]), world.searchable(2, tags=["other"])
    return world.grouped(one, other), one, other


def policy(world: World, action: Any, undo_seconds: int = 86_400) -> None:
    world.acme = replace(world.acme, duplicates=DuplicatePolicy(action, undo_seconds))
    world.tenants.add(world.acme)


def sent(world: World, kind: type) -> list[Any]:
    return [message.event for message in world.publisher.sent if isinstance(message.event, kind)]


def test_groups_are_listed_with_their_images_and_evidence(world: World, pair: tuple[str, str, str]) -> None:
    group_id, one, other = pair
    answer = world.client.get("/v1/duplicates").json()
    (group,) = answer["groups"]
    assert (group["duplicateId"], group["size"], answer["nextCursor"]) == (group_id, 2, None)
    assert [image["imageId"] for image in group["images"]] == [one, other]
    (found,) = group["pairs"]
    assert (found["imageIds"], found["verdict"], found["score"], found["hashDistance"]) == (
        [one, other],
        "near",
        0.9,
        3,
    )
    assert world.client.get(f"/v1/duplicates/{group_id}").json() == group


def test_pages_follow_a_cursor_to_the_end(world: World) -> None:
    made = [world.grouped(world.searchable(2 * n), world.searchable(2 * n + 1)) for n in range(5)]
    seen: list[str] = []
    query = {"limit": 2}
    while True:
        answer = world.client.get("/v1/duplicates", params=query).json()
        seen += [group["duplicateId"] for group in answer["groups"]]
        if answer["nextCursor"] is None:
            break
        query = {"limit": 2, "cursor": answer["nextCursor"]}
    assert seen == made[::-1]


@pytest.mark.parametrize("cursor", ["x", "WyIyMDI2IiwgMV0", "WyIyMDI2LTExLTIwVDEyOjAwOjAwKzAwOjAwIiwiaW1nX2EiXQ"])
def test_a_cursor_of_something_else_is_refused(world: World, cursor: str) -> None:
    for path in ("/v1/duplicates", "/v1/merges"):
        assert world.client.get(path, params={"cursor": cursor}).status_code == 422


def test_a_group_that_went_into_another_leads_there(world: World) -> None:
    ids = [world.searchable(n) for n in range(4)]
    first, second = world.grouped(*ids[:2]), world.grouped(*ids[2:])
    world.grouped(ids[1], ids[2])
    answers = {id_: world.client.get(f"/v1/duplicates/{id_}") for id_ in (first, second)}
    moved = [answer for answer in answers.values() if answer.status_code == 301]
    assert [answer.headers["location"] for answer in moved] == [f"/v1/duplicates/{first}"]
    assert answers[first].json()["size"] == 4


def test_unknown_groups_and_merges_are_404(world: World) -> None:
    for method, path, code in [
        ("GET", "/v1/duplicates/dup_nobodys", "duplicate-not-found"),
        ("POST", "/v1/duplicates/dup_nobodys/merge", "duplicate-not-found"),
        ("POST", "/v1/duplicates/dup_nobodys/decision", "duplicate-not-found"),
        ("POST", "/v1/merges/mrg_nobodys/undo", "merge-not-found"),
    ]:
        body = {"keep": "img_a"} if path.endswith("merge") else {"decision": "duplicate"}
        answer = world.client.request(method, path, json=None if method == "GET" else body)
        assert (answer.status_code, answer.json()["type"]) == (404, f"/problems/{code}")


def test_two_images_are_compared_as_they_are(world: World, pair: tuple[str, str, str]) -> None:
    _, one, other = pair
    world.duplicates.keep_hashes(world.acme, {one: 0b1111, other: 0b0001})
    answer = world.client.get(f"/v1/images/{other}/compare/{one}").json()
    assert (answer["imageIds"], answer["sameBytes"], answer["hashDistance"]) == ([one, other], False, 3)
    assert -1 <= answer["score"] <= 1
    assert answer["decision"] is None
    same = world.client.get(f"/v1/images/{one}/compare/{one}").json()
    assert (same["verdict"], same["match"]) == (None, "exact")


def test_an_image_that_is_not_indexed_is_compared_by_its_bytes(world: World) -> None:
    first, second = (world.upload(picture(1)).json()["imageId"] for _ in range(2))
    answer = world.client.get(f"/v1/images/{first}/compare/{second}").json()
    assert (answer["verdict"], answer["score"], answer["hashDistance"]) == ("exact", None, None)


def test_a_decision_ends_a_group_and_names_who_decided(world: World, pair: tuple[str, str, str]) -> None:
    group_id, one, other = pair
    answer = world.client.post(f"/v1/duplicates/{group_id}/decision", json={"decision": "not-duplicate"})
    assert answer.json() == {"decision": "not-duplicate", "imageIds": [one, other]}
    assert world.client.get("/v1/duplicates").json()["groups"] == []
    compared = world.client.get(f"/v1/images/{one}/compare/{other}").json()
    assert (compared["decision"], compared["decidedBy"][:4]) == ("not-duplicate", "key:")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"decision": "maybe"},
        {"decision": "duplicate", "imageIds": ["img_a"]},
        {"decision": "duplicate", "imageIds": ["img_a", "img_a"]},
        {"decision": "duplicate", "x": 1},
    ],
)
def test_decisions_that_say_nothing_are_refused(world: World, pair: tuple[str, str, str], body: dict[str, Any]) -> None:
    assert world.client.post(f"/v1/duplicates/{pair[0]}/decision", json=body).status_code == 422


def test_only_members_are_decided_and_merged(world: World, pair: tuple[str, str, str]) -> None:
    group_id, one, _ = pair
    stranger = world.searchable(9)
    for path, body in [
        ("decision", {"decision": "duplicate", "imageIds": [one, stranger]}),
        ("merge", {"keep": stranger}),
        ("merge", {"keep": one, "imageIds": [stranger]}),
    ]:
        answer = world.client.post(f"/v1/duplicates/{group_id}/{path}", json=body)
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/image-not-found")


def test_a_large_group_is_decided_in_parts(world: World) -> None:
    ids = [world.searchable(n) for n in range(52)]
    group_id = world.grouped(*ids)
    answer = world.client.post(f"/v1/duplicates/{group_id}/decision", json={"decision": "not-duplicate"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#/imageIds")
    body = {"decision": "not-duplicate", "imageIds": ids[:2]}
    assert world.client.post(f"/v1/duplicates/{group_id}/decision", json=body).status_code == 200


def test_a_merge_makes_the_kept_image_answer_for_the_others(world: World, pair: tuple[str, str, str]) -> None:
    group_id, one, other = pair
    merge = world.client.post(f"/v1/duplicates/{group_id}/merge", json={"keep": other}).json()
    assert (merge["kept"], merge["merged"], merge["state"]) == (other, [one], "merged")
    assert world.client.get(f"/v1/images/{other}").json()["tags"] == ["other", "one"]
    for method, path, status in [
        ("GET", "", 301),
        ("GET", "/content", 301),
        ("GET", "/similar?limit=3", 301),
        ("POST", "/retry", 308),
        ("PATCH", "", 308),
    ]:
        answer = world.client.request(
            method, f"/v1/images/{one}{path}", json={"tags": []} if method == "PATCH" else None
        )
        assert (answer.status_code, answer.headers["location"]) == (status, f"/v1/images/{other}{path}")
    by_ids = world.client.post("/v1/search/similar", json={"imageIds": [one, other]})
    assert (by_ids.status_code, other in by_ids.text) == (200, False)
    assert world.client.get(f"/v1/images/{one}/compare/{other}").headers["location"] == (
        f"/v1/images/{other}/compare/{other}"
    )
    assert world.client.get("/v1/merges").json()["merges"] == [merge]
    (again,) = sent(world, FeatureExtractionRequested)
    assert again.image_id == other
    assert sent(world, ImageMaintenance) == []
    assert [key[1] for key in world.merge_deadlines.due] == [merge["mergeId"]]


def test_a_merge_without_grace_is_settled_by_an_event(world: World, pair: tuple[str, str, str]) -> None:
    policy(world, "report", undo_seconds=0)
    merge = world.client.post(f"/v1/duplicates/{pair[0]}/merge", json={"keep": pair[1]}).json()
    (event,) = sent(world, ImageMaintenance)
    assert (event.maintenance_type, event.job, event.subject) == ("merge", merge["mergeId"], "tenant")


def test_a_merge_whose_events_were_lost_is_made_good_by_a_repeat(world: World, pair: tuple[str, str, str]) -> None:
    world.publisher.away = 1
    path, body = f"/v1/duplicates/{pair[0]}/merge", {"keep": pair[1]}
    assert world.client.post(path, json=body).status_code == 503
    assert world.client.post(path, json=body).status_code == 200
    assert len(sent(world, FeatureExtractionRequested)) == 1
    assert len(world.client.get("/v1/merges").json()["merges"]) == 1


def test_what_was_decided_against_is_not_merged(world: World) -> None:
    a, b, c = (world.searchable(n) for n in range(3))
    group_id = world.grouped(a, b, c)
    body = {"decision": "not-duplicate", "imageIds": [a, c]}
    assert world.client.post(f"/v1/duplicates/{group_id}/decision", json=body).status_code == 200
    refused = world.client.post(f"/v1/duplicates/{group_id}/merge", json={"keep": a, "imageIds": [c]})
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/nothing-to-merge")
    assert world.client.post(f"/v1/duplicates/{group_id}/merge", json={"keep": a}).json()["merged"] == [b]


def test_an_undo_gives_everything_back_until_it_is_too_late(world: World, pair: tuple[str, str, str]) -> None:
    group_id, one, other = pair
    merge = world.client.post(f"/v1/duplicates/{group_id}/merge", json={"keep": one}).json()
    undone = world.client.post(f"/v1/merges/{merge['mergeId']}/undo")
    assert (undone.status_code, undone.json()["state"]) == (200, "undone")
    assert world.client.get(f"/v1/images/{one}").json()["tags"] == ["one"]
    assert world.client.get(f"/v1/images/{other}").status_code == 200
    assert world.client.get(f"/v1/duplicates/{group_id}").status_code == 200

    second = world.client.post(f"/v1/duplicates/{group_id}/merge", json={"keep": one}).json()
    world.clock.skip(timedelta(days=8))
    late = world.client.post(f"/v1/merges/{second['mergeId']}/undo")
    assert (late.status_code, late.json()["type"]) == (409, "/problems/merge-settled")


def test_a_tenant_may_want_no_file_twice(world: World) -> None:
    policy(world, "reject")
    first = world.upload(picture(1)).json()["imageId"]
    again = world.upload(picture(1))
    assert (again.status_code, again.json()["type"]) == (409, "/problems/duplicate-image")
    assert again.headers["location"] == f"/v1/images/{first}"
    assert first in again.json()["detail"]
    assert len(world.stored("images/")) == 1
    assert world.upload(picture(2)).status_code == 202


def test_a_repeat_with_the_same_key_is_no_duplicate(world: World) -> None:
    policy(world, "reject")
    assert world.upload(picture(1), key="k").status_code == 202
    assert world.upload(picture(1), key="k").status_code == 202
    assert world.upload(picture(1), key="other").status_code == 409


def test_a_twin_that_came_meanwhile_leaves_nothing_behind(world: World) -> None:
    policy(world, "reject")
    first = world.upload(picture(1)).json()["imageId"]
    # The other upload was not there yet when this one asked.
    world.duplicates.images_with_same_bytes = lambda *_: {}  # type: ignore[method-assign]
    world.duplicates.reserve = lambda tenant, image_id: world.images.forget(tenant, image_id) or first  # type: ignore[func-returns-value,method-assign]
    published = len(world.publisher.sent)
    again = world.upload(picture(1))
    assert (again.status_code, again.headers["location"]) == (409, f"/v1/images/{first}")
    assert len(world.stored("images/")) == 1
    assert len(world.publisher.sent) == published
    assert len(world.client.get("/v1/images").json()["images"]) == 1


def test_other_policies_take_every_file(world: World) -> None:
    for action in ("report", "auto-merge-exact"):
        policy(world, action)
        assert [world.upload(picture(1)).status_code for _ in range(2)] == [202, 202]
