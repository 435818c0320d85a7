"""Who may do what: keys, scopes, tenants. The routes are the application's, so that new ones enter by themselves."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from deeplens.duplicates.model import Merge
from deeplens.errors import DatabaseUnavailable
from deeplens.uploads.model import DirectUpload

from tests.harness.api import MP4_HEAD, World, picture, tenant, video_beside

OPEN = {"/v1/health", "/v1/notifications/{tenant_id}/{store_id}"}
WITHOUT_IMAGE = {
    "/v1/images",
    "/v1/images/check",
    "/v1/videos",
    "/v1/search/image",
    "/v1/search/text",
    "/v1/events",
    "/v1/uploads",
    "/v1/usage",
    "/v1/duplicates",
    "/v1/merges",
}
UPLOAD_BODIES: dict[str, dict[str, Any]] = {
    "/v1/uploads": {"fileName": "a.jpg", "sizeBytes": 5},
    "/v1/uploads/{upload_id}/parts": {"partNumbers": [1]},
    "/v1/images/check": {"sha256": [64 * "0"]},
}
IDS: dict[str, dict[str, str]] = {}
"""What belongs to an image of ``prepared``, by the name of the path parameter that leads to it."""
ROUTES = [
    (method.upper(), path)
    for path, operations in World().app.openapi()["paths"].items()
    for method in operations
    if path not in OPEN
]


def prepared(world: World, **form: Any) -> str:
    """An image of acme, in a group with another one, a merge of two more, an upload and a video."""
    image_id, other, kept, merged = (world.searchable(seed, **form) for seed in (0, 1, 2, 3))
    group, second = world.grouped(image_id, other), world.grouped(kept, merged)
    now = world.clock.now()
    merge = Merge("mrg_1", second, kept, (merged,), now, now + timedelta(days=1), "key:test")
    assert world.duplicates.merge(world.acme, merge)
    begin(world, image_id)
    world.video(video_beside(image_id))
    IDS[image_id] = {"other_id": other, "duplicate_id": group, "merge_id": merge.id}
    return image_id


def filled(path: str, image_id: str) -> str:
    nobodys = {"other_id": image_id, "duplicate_id": "dup_none", "merge_id": "mrg_none"}
    upload_id = image_id.replace("img_", "upl_")
    video_id = video_beside(image_id)
    given = IDS.get(image_id, nobodys)
    return path.format(image_id=image_id, video_id=video_id, upload_id=upload_id, size="small", **given)


def call(world: World, client: httpx.Client, method: str, path: str, image_id: str) -> httpx.Response:
    """A good request to a route about an image."""
    extra: dict[str, Any] = {}
    if method == "PATCH":
        extra = {"json": {"tags": ["stolen"]}}
    elif path in UPLOAD_BODIES:
        extra = {"json": UPLOAD_BODIES[path]}
    elif path == "/v1/search/similar":
        extra = {"json": {"imageIds": [image_id]}}
    elif path == "/v1/search/text":
        extra = {"json": {"text": "red"}}
    elif path.endswith("/decision"):
        extra = {"json": {"decision": "not-duplicate"}}
    elif path.endswith("/merge"):
        extra = {"json": {"keep": image_id}}
    elif method == "POST":
        extra = {"files": {"file": ("a.jpg", picture(0))}}
    if path == "/v1/videos" and method == "POST":
        extra = {"files": {"file": ("a.mp4", MP4_HEAD)}}
    return client.request(method, filled(path, image_id), **extra)


def begin(world: World, image_id: str) -> None:
    """An upload in parts that an image of this id would come of."""
    now = world.clock.now()
    upload = DirectUpload(
        "tenant_acme", image_id.replace("img_", "upl_"), "a.jpg", 20, now, now, now, part_bytes=10, multipart_id="m"
    )
    world.uploads.add(upload)


def test_every_route_is_known_to_these_tests() -> None:
    assert len(ROUTES) == 37
    assert ("GET", "/v1/images/{image_id}/similar") in ROUTES


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_no_route_answers_without_a_key(world: World, method: str, path: str) -> None:
    for headers in ({}, {"X-API-Key": "dl_wrong"}, {"X-API-Key": ""}):
        answer = call(world, world.anonymous(headers), method, path, "img_a")

        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_another_tenants_images_do_not_exist(world: World, method: str, path: str) -> None:
    image_id = prepared(world, tags=["mine"])
    objects, sent = world.stored(), list(world.publisher.sent)
    row = world.images.find(world.acme, [image_id])
    thief = world.client_of(world.other)

    answer = call(world, thief, method, path, image_id)

    if path not in WITHOUT_IMAGE:
        assert answer.status_code == 404
    comparable_text = answer.text.replace(f'"instance":"{filled(path, image_id)}"', "")
    for kind, file_id in (("image", image_id), ("video", video_beside(image_id))):
        assert file_id not in comparable_text.replace(f"There is no {kind} {file_id}", "")
    assert world.images.find(world.acme, [image_id]) == row
    assert world.stored() == objects
    assert [m for m in world.publisher.sent[len(sent) :] if getattr(m.event, "tenant_id", "") == "tenant_acme"] == []


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_refusal_is_the_same_for_unknown_and_for_foreign_images(world: World, method: str, path: str) -> None:
    if path in WITHOUT_IMAGE:
        return
    foreign = prepared(world)
    thief = world.client_of(world.other)

    theirs, nobodys = (call(world, thief, method, path, image_id) for image_id in (foreign, "img_nobodys"))

    assert theirs.status_code == nobodys.status_code
    assert theirs.json()["type"] == nobodys.json()["type"]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_key_needs_the_routes_scope(world: World, method: str, path: str) -> None:
    image_id = prepared(world)
    reading = method == "GET" or path.startswith(("/v1/search/", "/v1/images/check"))
    needed, other = ("deeplens.api.read", "deeplens.api.write")[:: 1 if reading else -1]

    refused = call(world, world.client_of(world.acme, other), method, path, image_id)
    allowed = call(world, world.client_of(world.acme, needed), method, path, image_id)

    assert (refused.status_code, refused.json()["type"]) == (403, "/problems/insufficient-scope")
    assert needed in refused.json()["detail"]
    # The default model embeds no texts, what is searchable has not failed, a live image no receipt; parts are missing.
    by_state = {"text-unsupported", "image-not-failed", "image-not-deleted", "upload-incomplete"}
    assert allowed.status_code in (*range(300), 307) or allowed.json()["type"].removeprefix("/problems/") in by_state


@pytest.mark.parametrize("name", ["suspended", "deleting", "unknown"])
def test_only_active_tenants_are_served(world: World, name: str) -> None:
    fading = tenant("fading", name)
    if name != "unknown":
        world.tenants.add(fading)

    answer = world.client_of(fading).get("/v1/images")

    assert answer.status_code == 403
    assert answer.json()["type"] in ("/problems/tenant-not-active", "/problems/tenant-not-found")


def test_a_tenant_in_the_request_changes_nothing(world: World) -> None:
    headers = {"X-Tenant-Id": "tenant_other"}
    answer = world.client.post(
        "/v1/images", files={"file": picture()}, data={"tenantId": "tenant_other"}, headers=headers
    )

    assert answer.status_code == 202
    assert world.stored(owner=world.other) == []
    assert world.publisher.sent[0].event.tenant_id == "tenant_acme"


def test_health_needs_no_key_and_no_other_part(world: World) -> None:
    answer = world.anonymous().get("/v1/health")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_keys_that_cannot_be_checked_now_are_not_called_wrong(world: World) -> None:
    def away(presented: str) -> None:
        raise DatabaseUnavailable("platform")

    world.api_keys.authenticate = away

    assert world.client.get("/v1/images").status_code == 503


def test_a_write_whose_json_is_nested_too_deeply_is_refused_and_recorded(world: World) -> None:
    body = b'{"name": ' + b"[" * 5000 + b"]" * 5000 + b"}"
    answer = world.operator().post(
        "/v1/admin/tenants/tenant_acme/keys", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422
    assert world.audit.entries[0] == ("POST /v1/admin/tenants/{tenant_id}/keys", "begun")
