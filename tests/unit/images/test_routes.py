import json
from datetime import timedelta
from typing import Any

import pytest
from deeplens.errors import IndexUnavailable
from deeplens.images.model import Step

from tests.harness.api import START, World, picture

UNKNOWN = "/v1/images/img_nosuchimage"


def test_an_image_shows_its_status_and_timeline(world: World) -> None:
    image_id = world.upload(tags=["sea"]).json()["imageId"]
    world.reach(image_id, Step.PREPROCESSED, changes={"width": 64, "height": 48, "format": "JPEG"})

    shown = world.client.get(f"/v1/images/{image_id}").json()

    assert (shown["status"], shown["width"], shown["height"], shown["tags"]) == ("preprocessed", 64, 48, ["sea"])
    assert [stage["status"] for stage in shown["timeline"]] == ["accepted", "preprocessed"]
    assert shown["timeline"][1]["durationSeconds"] == 0.5
    assert shown["error"] is None


def test_a_failed_image_says_why_and_whether_to_try_again(world: World) -> None:
    image_id = world.upload().json()["imageId"]
    world.reach(image_id, Step.FAILED, error_code="IMAGE_CORRUPT", error_message="broken", error_retryable=False)

    shown = world.client.get(f"/v1/images/{image_id}").json()

    assert shown["status"] == "failed"
    assert shown["error"] == {"code": "IMAGE_CORRUPT", "message": "broken", "retryable": False, "attempt": 1}


@pytest.mark.parametrize("path", [UNKNOWN, "/v1/images/img_%00", "/v1/images/IMG_1", f"/v1/images/img_{'x' * 300}"])
def test_an_unknown_image_is_not_found(world: World, path: str) -> None:
    answer = world.client.get(path)

    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/image-not-found")


def test_pages_join_without_gap_or_repeat(world: World) -> None:
    made = [world.upload().json()["imageId"] for _ in range(7)]

    seen, cursor = [], None
    while True:
        page = world.client.get("/v1/images", params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        seen += [image["imageId"] for image in page["images"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break

    assert seen == made[::-1]


def test_the_last_full_page_has_no_next(world: World) -> None:
    for _ in range(2):
        world.upload()

    assert world.client.get("/v1/images?limit=2").json()["nextCursor"] is None


def test_lists_filter_by_status_tag_and_time(world: World) -> None:
    plain = world.upload().json()
    tagged = world.upload(tags=["sea", "dawn"]).json()
    world.reach(plain["imageId"], Step.COMPLETED)

    def listed(**query: Any) -> list[str]:
        answer = world.client.get("/v1/images", params=query)
        return [image["imageId"] for image in answer.json()["images"]]

    both = [tagged["imageId"], plain["imageId"]]
    assert listed(status="completed") == both[1:]
    assert listed(status=["completed", "accepted"]) == both
    assert listed(tag="sea") == listed(tag=["sea", "dawn"]) == both[:1]
    assert listed(tag=["sea", "dusk"]) == []
    assert listed(uploaded_from=tagged["uploadedAt"]) == both[:1]
    assert listed(uploaded_before=tagged["uploadedAt"]) == both[1:]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "#/limit"),
        ("limit=201", "#/limit"),
        ("status=done", "#/status/0"),
        ("uploaded_from=yesterday", "#/uploaded_from"),
        ("uploaded_from=2026-11-20T10:00:00", "#/uploaded_from"),
        ("cursor=x", "#/cursor"),
        ("cursor=WzEsMl0", "#/cursor"),
        ("cursor=WyIyMDI2LTAxLTAxIiwiaW1nX2EiXQ", "#/cursor"),
        ("tag=", "#/tag/0"),
        ("tags=sea", "#/tags"),
        ("tenant_id=tenant_other", "#/tenant_id"),
    ],
)
def test_list_parameters_are_checked(world: World, query: str, pointer: str) -> None:
    answer = world.client.get(f"/v1/images?{query}")

    assert answer.status_code == 422
    assert [(fault["in"], fault["pointer"]) for fault in answer.json()["errors"]] == [("query", pointer)]


def test_a_change_of_tags_reaches_row_and_index_at_once(world: World) -> None:
    image_id = world.searchable(tags=["sea"], metadata='{"iso": 200}')

    answer = world.client.patch(f"/v1/images/{image_id}", json={"tags": ["dawn", "dawn"]})

    assert (answer.status_code, answer.json()["tags"], answer.json()["metadata"]) == (200, ["dawn"], {"iso": 200})
    payload = world.index.payload_of(world.acme, image_id)
    assert (payload["tags"], payload["metadata"]) == (["dawn"], {"iso": 200})


def test_metadata_is_replaced_and_may_be_emptied(world: World) -> None:
    image_id = world.searchable(tags=["sea"], metadata='{"iso": 200}')

    assert world.client.patch(f"/v1/images/{image_id}", json={"metadata": {}}).json()["metadata"] == {}
    assert world.index.payload_of(world.acme, image_id)["metadata"] == {}


def test_an_image_that_is_not_indexed_yet_can_be_changed(world: World) -> None:
    image_id = world.upload().json()["imageId"]

    assert world.client.patch(f"/v1/images/{image_id}", json={"tags": ["sea"]}).status_code == 200
    assert world.images.find(world.acme, [image_id])[image_id].tags == ("sea",)


def test_of_two_simultaneous_changes_the_later_stays_in_the_index(world: World) -> None:
    image_id = world.searchable()
    write, overtaken = world.index.replace_payload, []

    def overtaken_once(tenant: Any, image: str, payload: dict[str, Any]) -> None:
        if not overtaken:
            overtaken.append(world.images.amend(tenant, image, tags=["later"], metadata=None))
        write(tenant, image, payload)

    world.index.replace_payload = overtaken_once
    world.client.patch(f"/v1/images/{image_id}", json={"tags": ["earlier"]})

    assert world.index.payload_of(world.acme, image_id)["tags"] == ["later"]


def test_a_change_while_the_index_is_away_can_be_repeated(world: World) -> None:
    image_id = world.searchable()
    write = world.index.replace_payload
    world.index.replace_payload = lambda *_: (_ for _ in ()).throw(IndexUnavailable("qdrant"))

    assert world.client.patch(f"/v1/images/{image_id}", json={"tags": ["sea"]}).status_code == 503
    world.index.replace_payload = write
    assert world.client.patch(f"/v1/images/{image_id}", json={"tags": ["sea"]}).status_code == 200
    assert world.index.payload_of(world.acme, image_id)["tags"] == ["sea"]


@pytest.mark.parametrize(
    ("patch", "pointer"),
    [
        ({}, "#"),
        ({"tags": None}, "#"),
        ({"tags": "sea"}, "#/tags"),
        ({"tags": ["\ud800"]}, "#/tags/0"),
        ({"metadata": {"a": [1]}}, "#/metadata/a"),
        ({"metadata": {"": 1}}, "#/metadata/"),
        ({"status": "completed"}, "#/status"),
        ([], "#"),
    ],
)
def test_a_bad_change_is_refused_with_a_pointer(world: World, patch: Any, pointer: str) -> None:
    image_id = world.upload().json()["imageId"]

    answer = world.client.patch(
        f"/v1/images/{image_id}", content=json.dumps(patch), headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith(pointer)


def test_a_change_that_is_not_json_is_refused(world: World) -> None:
    image_id = world.upload().json()["imageId"]

    answer = world.client.patch(f"/v1/images/{image_id}", content=b"{", headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")


def test_a_deleted_image_is_gone_from_every_answer_at_once(world: World) -> None:
    image_id = world.searchable(1)
    twin = world.searchable(1)

    answer = world.client.delete(f"/v1/images/{image_id}")

    assert (answer.status_code, answer.json()) == (202, {"imageId": image_id, "status": "deleting"})
    for path in ("", "/content", "/thumbnails/small", "/similar"):
        assert world.client.get(f"/v1/images/{image_id}{path}").status_code == 404, path
    assert world.client.patch(f"/v1/images/{image_id}", json={"tags": []}).status_code == 404
    assert image_id not in world.client.get("/v1/images").text
    assert image_id not in world.client.get(f"/v1/images/{twin}/similar").text
    assert image_id not in world.client.post("/v1/search/image", files={"file": picture(1)}).text


def test_a_deletion_asks_for_everything_to_be_removed_and_may_be_repeated(world: World) -> None:
    image_id = world.upload().json()["imageId"]
    world.publisher.sent.clear()

    answers = [world.client.delete(f"/v1/images/{image_id}") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [202, 202]
    first, second = world.publisher.sent
    assert first.event.model_dump(by_alias=True, exclude_none=True, exclude={"requested_at"}) == {
        "maintenanceType": "delete",
        "imageId": image_id,
        "tenantId": "tenant_acme",
        "actions": ["delete_minio_files", "delete_qdrant_vectors", "cleanup_database"],
    }
    assert first.event_id == second.event_id


def test_a_deletion_whose_event_is_lost_is_not_confirmed(world: World) -> None:
    image_id = world.upload().json()["imageId"]
    world.publisher.away = 1

    assert world.client.delete(f"/v1/images/{image_id}").status_code == 503
    assert world.client.delete(f"/v1/images/{image_id}").status_code == 202


def test_deleting_an_unknown_image_is_not_found(world: World) -> None:
    assert world.client.delete(UNKNOWN).status_code == 404
    assert world.publisher.sent == []


def test_uploads_are_dated_when_they_are_accepted(world: World) -> None:
    shown = world.upload().json()["uploadedAt"]

    assert START.isoformat()[:16] == shown[:16]
    assert shown.endswith("Z")
    assert timedelta(0) == START.utcoffset()
