"""Files that clients send directly to a directory or to S3 are ingested through notification, queue and functions."""

import hashlib
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest
from deeplens.bootstrap.container import Container
from deeplens.tenants.limits import ResourceLimits
from PIL import Image

from local.stack.stack import Stack
from tests.e2e.conftest import IN_EVERY_STORE, TenantClient, eventually, new_client, picture
from tests.harness.films import film

ENDED = ("ingested", "failed")


def large(seed: int) -> bytes:
    """A picture of more than 16 MiB."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    out = BytesIO()
    Image.fromarray(coarse).resize((2600, 2200), Image.Resampling.BICUBIC).save(out, "BMP")
    return out.getvalue()


def begin(client: TenantClient, body: bytes, key: str = "", **more: Any) -> dict[str, Any]:
    upload_request = {"fileName": "harbour.jpg", "sizeBytes": len(body)} | more
    answer = client.http.post("/uploads", json=upload_request, headers={"Idempotency-Key": key} if key else {})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def send(upload: dict[str, Any], body: bytes) -> httpx.Response:
    form = upload["form"]
    return httpx.post(form["url"], data=form["fields"], files={"file": ("a", body)}, trust_env=False, timeout=60)


def ended(client: TenantClient, upload: dict[str, Any]) -> dict[str, Any]:
    path = upload["links"]["self"].removeprefix("/v1")
    return eventually(lambda: client.http.get(path).json(), lambda found: found["status"] in ENDED)


def left_over(client: TenantClient) -> list[str]:
    return [key for key in client.objects() if key.startswith(("uploads/", "parts/"))]


@IN_EVERY_STORE
def test_a_file_becomes_searchable_without_another_word_from_its_client(client: TenantClient) -> None:
    body = picture(4001)
    upload = begin(client, body, sha256=hashlib.sha256(body).hexdigest(), tags=["sea"], metadata={"iso": 200})
    assert send(upload, body).status_code in (200, 204)

    image_id = ended(client, upload)["imageId"]

    image = client.until_ended(image_id)
    assert (image["status"], image["tags"], image["metadata"]) == ("completed", ["sea"], {"iso": 200})
    assert image["sha256"] == hashlib.sha256(body).hexdigest()
    assert client.search(body)[0]["imageId"] == image_id
    eventually(lambda: left_over(client), lambda keys: not keys)


@IN_EVERY_STORE
def test_a_large_file_is_sent_in_parts_resumed_and_completed(client: TenantClient) -> None:
    body = large(4002)
    upload = begin(client, body, key="large")
    path, part_bytes = upload["links"]["self"].removeprefix("/v1"), upload["multipart"]["partBytes"]

    def part(number: int) -> int:
        (one,) = client.http.post(f"{path}/parts", json={"partNumbers": [number]}).json()["parts"]
        chunk = body[(number - 1) * part_bytes : number * part_bytes]
        assert len(chunk) == one["sizeBytes"]
        return httpx.put(one["url"], content=chunk, trust_env=False, timeout=60).status_code

    assert part(2) in (200, 204)
    assert client.http.post(f"{path}/complete").status_code == 409
    again = begin(client, body, key="large")
    assert again["uploadId"] == upload["uploadId"]
    missing = client.http.get(f"{path}/parts").json()["missing"]
    assert missing == [1, 3]
    assert {part(number) for number in missing} <= {200, 204}
    assert client.http.post(f"{path}/complete").status_code == 202

    found = ended(client, upload)
    assert found["status"] == "ingested"
    image = client.until_ended(found["imageId"])
    assert (image["status"], image["sizeBytes"], image["format"]) == ("completed", len(body), "BMP")
    assert image["sha256"] == hashlib.sha256(body).hexdigest()
    content = client.http.get(f"/images/{found['imageId']}/content", follow_redirects=False)
    assert httpx.get(content.headers["location"], trust_env=False).content == body
    eventually(lambda: left_over(client), lambda keys: not keys)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"just a text", "FORMAT_UNSUPPORTED"),
        (b"FLV\x01" + bytes(50), "VIDEO_FORMAT_UNSUPPORTED"),
        (b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2" + bytes(50), "VIDEO_TRUNCATED"),
        (picture(4003)[:40], "IMAGE_CORRUPT"),
        (picture(4004)[:3000], "IMAGE_CORRUPT"),
    ],
    ids=["text", "flash", "video", "header", "data"],
)
def test_a_file_that_is_no_good_image_fails_with_its_reason(client: TenantClient, body: bytes, code: str) -> None:
    upload = begin(client, body)
    send(upload, body)
    path = upload["links"]["self"].removeprefix("/v1")

    found = eventually(lambda: client.http.get(path).json(), lambda image: image["status"] == "failed")

    assert found["error"]["code"] == code
    assert found["error"]["message"]


@pytest.mark.parametrize("spare_bytes", [8, 17 << 20], ids=["one form", "parts"])
def test_a_video_is_searchable_by_its_frames(client: TenantClient, spare_bytes: int) -> None:
    body = film() + spare_bytes.to_bytes(4) + b"free" + bytes(spare_bytes - 8)
    upload_request = {"fileName": "party.mp4", "sha256": hashlib.sha256(body).hexdigest(), "tags": ["sea"]}
    upload = begin(client, body, **upload_request)
    path = upload["links"]["self"].removeprefix("/v1")
    if upload["multipart"]:
        assert len(body) > 16 << 20
        for part in client.http.post(f"{path}/parts", json={"partNumbers": [1, 2, 3]}).json()["parts"]:
            start = (part["partNumber"] - 1) * upload["multipart"]["partBytes"]
            httpx.put(part["url"], content=body[start : start + part["sizeBytes"]], trust_env=False, timeout=60)
        assert client.http.post(f"{path}/complete").status_code == 202
    else:
        assert send(upload, body).status_code in (200, 204)

    upload_state = ended(client, upload)
    assert (upload_state["status"], upload_state["imageId"]) == ("ingested", None)
    video = eventually(
        lambda: client.http.get(upload_state["links"]["video"].removeprefix("/v1")).json(),
        lambda image: image["completedAt"],
    )
    assert (video["status"], video["tags"], video["sizeBytes"]) == ("completed", ["sea"], len(body))
    assert video["videoId"] == upload_state["videoId"]
    frames = client.http.get(f"/videos/{upload_state['videoId']}/frames").json()["frames"]
    assert len(frames) >= 3
    similar = client.http.get(f"/images/{frames[0]['imageId']}/similar").json()["results"]
    assert upload_state["videoId"] not in [(one.get("video") or {}).get("videoId") for one in similar]
    eventually(lambda: left_over(client), lambda keys: not keys)


@IN_EVERY_STORE
def test_more_bytes_than_declared_are_refused(client: TenantClient) -> None:
    body = picture(4005)
    upload = begin(client, body[:-1])
    answer = send(upload, body)
    path = upload["links"]["self"].removeprefix("/v1")
    if answer.status_code < 300:  # the store did not look: then the function does
        assert ended(client, upload)["error"]["code"] == "FILE_TOO_LARGE"
    else:
        assert answer.status_code in (400, 413)
        assert client.http.post(f"{path}/complete").status_code == 409
    assert not [key for key in client.objects() if upload["uploadId"] in key]


def test_another_file_after_the_end_is_not_taken(client: TenantClient) -> None:
    body = picture(4006)
    upload = begin(client, body + bytes(5000))
    send(upload, body)
    image_id = ended(client, upload)["imageId"]

    send(upload, picture(4007))

    eventually(lambda: left_over(client), lambda keys: not keys)
    assert client.image(image_id)["sha256"] == hashlib.sha256(body).hexdigest()
    assert client.until_ended(image_id)["status"] == "completed"


@IN_EVERY_STORE
def test_an_aborted_upload_is_not_taken_in(client: TenantClient) -> None:
    body = picture(4008)
    upload = begin(client, body)
    path = upload["links"]["self"].removeprefix("/v1")
    assert client.http.delete(path).json()["status"] == "aborted"

    send(upload, body)

    eventually(lambda: left_over(client), lambda keys: not keys)
    assert client.http.get(path).json()["status"] == "aborted"
    assert client.http.get(f"/images/{upload['uploadId'].replace('upl_', 'img_')}").status_code == 404


@IN_EVERY_STORE
def test_keys_outside_uploads_wake_nobody(stack: Stack, client: TenantClient) -> None:
    assert stack.runner
    client.completed(picture(4009))
    before = stack.runner.pools["on_object_created"].invocations
    client.parts.stores.for_tenant(client.tenant).put("elsewhere/upl_a", picture(4010), "image/jpeg")
    client.completed(picture(4011))

    body = picture(4012)
    upload = begin(client, body)
    send(upload, body)
    ended(client, upload)
    # An invocation counts when its function has answered, which is after the upload has ended.
    pool = stack.runner.pools["on_object_created"]
    assert eventually(lambda: pool.invocations, lambda count: count > before) == before + 1


def test_another_tenant_neither_sees_nor_touches_an_upload(client: TenantClient, other: TenantClient) -> None:
    upload = begin(client, large(4013)[: 17 << 20])
    path = upload["links"]["self"].removeprefix("/v1")
    tries = [("GET", ""), ("DELETE", ""), ("POST", "/complete"), ("GET", "/parts"), ("POST", "/parts")]
    for method, rest in tries:
        body = {"json": {"partNumbers": [1]}} if (method, rest) == ("POST", "/parts") else {}
        answer = other.http.request(method, f"{path}{rest}", **body)
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/upload-not-found")
    assert client.http.get(path).json()["status"] == "open"
    assert client.http.delete(path).status_code == 202


def test_the_tenants_limits_hold(stack: Stack, parts: Container) -> None:
    limited = new_client(stack, parts, "tenant_limited_uploads", "s3")
    # Before any function knows the tenant: they remember its row for ten seconds.
    parts.tenant_records.set_limits(limited.tenant.id, ResourceLimits(max_images=2, max_file_bytes=5000))
    bodies = [picture(4014 + n, side=64) for n in range(2)]
    first, second = (begin(limited, body) for body in bodies)

    for size, code in ((5001, "file-too-large"), (5000, "quota-exceeded")):
        refused = limited.http.post("/uploads", json={"fileName": "a", "sizeBytes": size})
        assert (refused.status_code, refused.json()["type"]) == (413, f"/problems/{code}")
    # What came another way has taken the second upload's place when it arrives.
    limited.completed(picture(4019, side=64))
    send(first, bodies[0])
    assert ended(limited, first)["status"] == "ingested"
    send(second, bodies[1])
    upload_state = ended(limited, second)

    assert (upload_state["status"], upload_state["error"]["code"]) == ("failed", "QUOTA_EXCEEDED")
    eventually(lambda: left_over(limited), lambda keys: not keys)
    assert not [key for key in limited.objects() if second["uploadId"].removeprefix("upl_") in key]


def test_a_form_is_good_for_nothing_else(client: TenantClient) -> None:
    body = picture(4016)
    upload = begin(client, body)
    for change in ({"key": "images/img_a.jpg"}, {"limit": "99999999"}, {"expires": "99999999999"}, {"signature": "0"}):
        forged = {**upload, "form": {**upload["form"], "fields": upload["form"]["fields"] | change}}
        assert send(forged, body).status_code == 403
    assert not [key for key in client.objects() if upload["uploadId"] in key]


def test_known_files_are_told(client: TenantClient) -> None:
    body = picture(4017)
    image_id = client.completed(body)
    digest = hashlib.sha256(body).hexdigest()
    answer = client.http.post("/images/check", json={"sha256": [digest, 64 * "0"]}).json()
    assert [image["imageId"] for image in answer["known"]] == [image_id]
    assert answer["new"] == [64 * "0"]
