"""Uploads that go to the store directly, as their clients see them; and which files are known."""

import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from deeplens.events.bucket import ObjectLocation
from deeplens.images.model import Step
from deeplens.tenants.limits import ResourceLimits
from deeplens.tenants.model import DuplicatePolicy, IngestionPause
from deeplens.uploads.model import MEBIBYTE
from deeplens.videos.model import NewVideo

from tests.harness.api import MP4_HEAD, World, picture

LARGE = 20 * MEBIBYTE


def begin(world: World, size: int = 1000, key: str = "", **more: Any) -> httpx.Response:
    body = {"fileName": "harbour.tif", "sizeBytes": size} | more
    return world.client.post("/v1/uploads", json=body, headers={"Idempotency-Key": key} if key else {})


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


def send(world: World, upload_id: str, *sizes: int) -> None:
    """Parts as a client sends them."""
    row = world.uploads.find("tenant_acme", upload_id)
    assert row
    assert row.multipart_id
    for number, size in enumerate(sizes, start=1):
        world.stores.for_tenant(world.acme).uploads().send_part(row.multipart_id, number, bytes(size))


def test_a_file_is_given_a_form_of_its_size(world: World) -> None:
    answer = begin(world, 1000, fileName="../../etc/pass\u202ewd", tags=["sea", "sea"])

    assert answer.status_code == 201
    body = answer.json()
    assert answer.headers["location"] == f"/v1/uploads/{body['uploadId']}" == body["links"]["self"]
    assert body["form"]["fields"] == {"key": f"uploads/{body['uploadId']}", "max": "1000"}
    assert (body["status"], body["fileName"], body["imageId"], body["multipart"]) == ("open", "passwd", None, None)
    assert world.publisher.sent == []


def test_a_large_file_is_sent_in_parts_whose_urls_are_given_on_demand(world: World) -> None:
    body = begin(world, LARGE).json()
    upload_id = body["uploadId"]
    assert (body["form"], body["multipart"]) == (None, {"partBytes": 8 * MEBIBYTE, "parts": 3})

    parts = world.client.post(f"/v1/uploads/{upload_id}/parts", json={"partNumbers": [3, 1, 3]}).json()["parts"]
    assert [(one["partNumber"], one["sizeBytes"]) for one in parts] == [(3, 4 * MEBIBYTE), (1, 8 * MEBIBYTE)]
    assert problem(world.client.post(f"/v1/uploads/{upload_id}/parts", json={"partNumbers": [4]})) == (
        409,
        "part-not-expected",
    )
    send(world, upload_id, 8 * MEBIBYTE, 5)
    listed = world.client.get(f"/v1/uploads/{upload_id}/parts").json()
    assert listed == {
        "parts": [{"partNumber": 1, "sizeBytes": 8 * MEBIBYTE}, {"partNumber": 2, "sizeBytes": 5}],
        "missing": [2, 3],
    }
    assert problem(world.client.post(f"/v1/uploads/{upload_id}/complete")) == (409, "upload-incomplete")

    send(world, upload_id, 8 * MEBIBYTE, 8 * MEBIBYTE, 4 * MEBIBYTE)
    assert world.client.post(f"/v1/uploads/{upload_id}/complete").status_code == 202
    key = f"uploads/{upload_id}"
    assert world.stores.for_tenant(world.acme).head(key).size_bytes == LARGE
    assert world.object_queue.received() == [ObjectLocation("aws:s3", "tenant-acme", key)]
    # Whoever did not hear the answer asks again.
    assert world.client.post(f"/v1/uploads/{upload_id}/complete").status_code == 202


def test_more_than_was_declared_is_not_joined(world: World) -> None:
    upload_id = begin(world, LARGE).json()["uploadId"]
    send(world, upload_id, 8 * MEBIBYTE, 8 * MEBIBYTE, 4 * MEBIBYTE, 1)
    assert problem(world.client.post(f"/v1/uploads/{upload_id}/complete")) == (409, "upload-incomplete")
    assert world.stored("uploads/") == []


def test_completing_a_single_file_wants_it_there(world: World) -> None:
    upload_id = begin(world).json()["uploadId"]
    assert problem(world.client.post(f"/v1/uploads/{upload_id}/complete")) == (409, "upload-incomplete")
    assert problem(world.client.get(f"/v1/uploads/{upload_id}/parts")) == (409, "upload-not-multipart")
    world.stores.for_tenant(world.acme).put(f"uploads/{upload_id}", b"1", "text/plain")
    assert world.client.post(f"/v1/uploads/{upload_id}/complete").status_code == 202


def test_a_message_that_cannot_be_sent_is_left_to_the_schedule(world: World) -> None:
    upload_id = begin(world).json()["uploadId"]
    world.stores.for_tenant(world.acme).put(f"uploads/{upload_id}", b"1", "text/plain")
    world.object_queue.away = True

    assert world.client.post(f"/v1/uploads/{upload_id}/complete").status_code == 503

    in_two_minutes = world.clock.now() + timedelta(minutes=2)
    assert [upload.id for upload in world.uploads.overdue(in_two_minutes, in_two_minutes, 9)] == [upload_id]


def test_a_repeated_key_resumes_the_upload(world: World) -> None:
    first, again = begin(world, LARGE, key="a"), begin(world, LARGE, key="a")

    assert first.json() == again.json()
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
    assert begin(world, LARGE, key="b").json()["uploadId"] != first.json()["uploadId"]
    for changed in ({"sizeBytes": 5}, {"fileName": "b.tif"}, {"sha256": 64 * "0"}):
        answer = begin(world, key="a", **{"sizeBytes": LARGE, **changed})
        assert problem(answer) == (422, "idempotency-key-reused")
    assert problem(begin(world, key=" a")) == (400, "invalid-idempotency-key")


def test_a_key_of_another_tenant_is_another_upload(world: World) -> None:
    mine = begin(world, key="a").json()["uploadId"]
    body = {"fileName": "harbour.tif", "sizeBytes": 9}
    theirs = world.client_of(world.other).post("/v1/uploads", json=body, headers={"Idempotency-Key": "a"}).json()
    assert theirs["uploadId"] != mine


def test_the_key_of_an_image_is_free_for_an_upload(world: World) -> None:
    image_id = world.upload(key="a").json()["imageId"]
    assert begin(world, key="a").json()["uploadId"].removeprefix("upl_") != image_id.removeprefix("img_")


def test_a_file_beyond_the_tenants_limit_is_refused(world: World) -> None:
    world.tenants.add(replace(world.acme, limits=ResourceLimits(max_file_bytes=999)))
    assert problem(begin(world, 1000)) == (413, "file-too-large")
    assert begin(world, 999).status_code == 201


def test_a_file_beyond_what_anybody_may_send_is_refused(world: World) -> None:
    assert problem(begin(world, world.settings.max_image_bytes + 1)) == (413, "file-too-large")


def test_what_is_called_a_video_may_be_larger(world: World) -> None:
    most = world.settings.max_video_bytes
    assert begin(world, most, fileName="party.MP4").status_code == 201
    assert problem(begin(world, most + 1, fileName="party.mp4")) == (413, "file-too-large")
    world.tenants.add(replace(world.acme, limits=ResourceLimits(max_file_bytes=999)))
    assert problem(begin(world, 1000, fileName="party.mp4")) == (413, "file-too-large")


def test_a_budget_pauses_uploads_but_those_that_have_begun(world: World) -> None:
    begun = begin(world, key="a")
    pause = IngestionPause("bytes.uploaded", world.clock.now() + timedelta(days=1))
    world.tenants.add(replace(world.acme, paused=pause))
    assert problem(begin(world, key="b")) == (429, "budget-exhausted")
    assert begin(world, key="a").json()["uploadId"] == begun.json()["uploadId"]
    video = world.client.post("/v1/videos", files={"file": ("a.mp4", MP4_HEAD)})
    assert problem(video) == (429, "budget-exhausted")


def test_an_upload_that_is_a_video_is_shown_as_one(world: World) -> None:
    upload_id = begin(world).json()["uploadId"]
    video_id, path = upload_id.replace("upl_", "vid_"), "s3://tenant-acme/videos/a.mp4"
    world.videos.insert(world.acme, NewVideo(video_id, "a.mp4", path, "video/mp4", 8, None, world.clock.now()))
    world.uploads.end("tenant_acme", upload_id, "ingested", world.clock.now())
    shown = world.client.get(f"/v1/uploads/{upload_id}").json()
    assert (shown["status"], shown["imageId"], shown["videoId"]) == ("ingested", None, video_id)
    assert shown["links"] | {"self": ""} == {"self": "", "image": None, "video": f"/v1/videos/{video_id}"}

    world.videos.fail(world.acme, video_id, "VIDEO_CORRUPT", "broken", False)
    shown = world.client.get(f"/v1/uploads/{upload_id}").json()
    assert (shown["status"], shown["error"]["code"], shown["videoId"]) == ("failed", "VIDEO_CORRUPT", video_id)


def test_uploads_under_way_count_towards_the_quota(world: World) -> None:
    world.tenants.add(replace(world.acme, limits=ResourceLimits(max_bytes=1500)))
    first = begin(world, 1000, key="a")
    assert first.headers["x-quota-bytes-remaining"] == "500"
    assert problem(begin(world, 1000, key="b")) == (413, "quota-exceeded")
    assert begin(world, 1000, key="a").status_code == 201
    world.client.delete(f"/v1/uploads/{first.json()['uploadId']}")
    assert begin(world, 1000, key="b").status_code == 201


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"fileName": "a"},
        {"fileName": "a", "sizeBytes": 0},
        {"fileName": "a", "sizeBytes": "many"},
        {"fileName": "a", "sizeBytes": 5, "sha256": "abc"},
        {"fileName": "a", "sizeBytes": 5, "tags": 51 * ["a"]},
        {"fileName": "a", "sizeBytes": 5, "metadata": {"a": {}}},
    ],
)
def test_what_makes_no_sense_is_refused(world: World, body: dict[str, Any]) -> None:
    assert problem(world.client.post("/v1/uploads", json=body)) == (422, "invalid-request")


def test_an_aborted_upload_leaves_nothing(world: World) -> None:
    upload_id = begin(world, LARGE).json()["uploadId"]
    send(world, upload_id, 8)
    row = world.uploads.find("tenant_acme", upload_id)
    assert row
    for _ in range(2):
        assert world.client.delete(f"/v1/uploads/{upload_id}").json()["status"] == "aborted"
    assert world.stores.for_tenant(world.acme).uploads().parts(row.key, row.multipart_id or "") == []
    assert problem(world.client.post(f"/v1/uploads/{upload_id}/complete")) == (409, "upload-ended")
    assert problem(world.client.post(f"/v1/uploads/{upload_id}/parts", json={"partNumbers": [1]})) == (
        409,
        "upload-ended",
    )


def test_what_is_being_taken_in_is_not_aborted(world: World) -> None:
    upload_id = begin(world).json()["uploadId"]
    now = world.clock.now()
    assert world.uploads.claim("tenant_acme", upload_id, now, now + timedelta(minutes=5))
    assert problem(world.client.delete(f"/v1/uploads/{upload_id}")) == (409, "upload-in-work")


def test_an_image_that_fails_is_a_failed_upload(world: World) -> None:
    upload_id = begin(world).json()["uploadId"]
    image_id = upload_id.replace("upl_", "img_")
    accept(world, image_id)
    world.uploads.end("tenant_acme", upload_id, "ingested", world.clock.now())
    shown = world.client.get(f"/v1/uploads/{upload_id}").json()
    assert (shown["status"], shown["imageId"], shown["links"]["image"]) == (
        "ingested",
        image_id,
        f"/v1/images/{image_id}",
    )
    world.reach(image_id, Step.FAILED, error_code="IMAGE_CORRUPT", error_message="broken", error_retryable=False)

    shown = world.client.get(f"/v1/uploads/{upload_id}").json()

    assert (shown["status"], shown["error"]["code"], shown["imageId"]) == ("failed", "IMAGE_CORRUPT", image_id)
    assert problem(world.client.delete(f"/v1/uploads/{upload_id}")) == (409, "upload-ended")


def accept(world: World, image_id: str) -> None:
    from deeplens.images.model import NewImage

    path = f"s3://tenant-acme/images/{image_id}.jpg"
    image = NewImage(image_id, "a.jpg", path, "image/jpeg", 5, 64 * "1", world.clock.now())
    world.images.insert(world.acme, image)


def test_known_files_are_told_from_new_ones(world: World) -> None:
    known, failed, gone = (world.upload(picture(seed)).json() for seed in (1, 2, 3))
    world.reach(failed["imageId"], Step.FAILED, error_code="X", error_message="x", error_retryable=False)
    world.mark_deleted(gone["imageId"])
    asked = [known["sha256"], failed["sha256"], gone["sha256"], 64 * "0", 64 * "0"]

    answer = world.client.post("/v1/images/check", json={"sha256": asked}).json()

    assert [(image["imageId"], image["status"]) for image in answer["known"]] == [
        (known["imageId"], "accepted"),
        (failed["imageId"], "failed"),
    ]
    assert answer["new"] == [gone["sha256"], 64 * "0"]
    theirs = world.client_of(world.other).post("/v1/images/check", json={"sha256": asked}).json()
    assert theirs["known"] == []


@pytest.mark.parametrize("asked", [[], ["x"], [64 * "A"], 1001 * [64 * "0"]])
def test_only_digests_are_checked(world: World, asked: list[str]) -> None:
    assert problem(world.client.post("/v1/images/check", json={"sha256": asked})) == (422, "invalid-request")


def test_where_no_file_is_taken_twice_a_declared_digest_that_is_there_is_refused_before_anything_is_sent(
    world: World,
) -> None:
    world.acme = replace(world.acme, duplicates=DuplicatePolicy("reject"))
    world.tenants.add(world.acme)
    image_id = world.upload(picture(1)).json()["imageId"]
    digest = hashlib.sha256(picture(1)).hexdigest()

    refused = begin(world, sha256=digest)
    assert problem(refused) == (409, "duplicate-image")
    assert refused.headers["location"] == f"/v1/images/{image_id}"
    assert begin(world, sha256=digest[::-1]).status_code == 201
