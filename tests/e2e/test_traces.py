"""One image is one trace: every hop of an upload, of a failure that is retried and replayed, and of a video."""

import json
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import httpx
import pytest
from deeplens.access.scopes import ADMIN
from deeplens.bootstrap.container import Container
from deeplens.common.outgoing import OutgoingMessage
from deeplens.events.images import ImageUploaded
from deeplens.images.model import NewImage
from deeplens.webhooks.model import Webhook
from PIL import Image

from local.stack.stack import Stack
from tests.e2e.conftest import TenantClient, eventually, new_client, picture
from tests.harness.cli import deeplens
from tests.harness.films import film_of
from tests.harness.webhook_endpoint import Endpoint

TENANT = "tenant_traced"
HOPS = {
    ("search_api", "POST /v1/images"),
    ("search_api", "postgresql platform"),
    ("search_api", "postgresql tenant"),
    ("search_api", "store put"),
    ("search_api", "send deeplens.images.uploaded"),
    ("on_image_uploaded", "process deeplens.images.uploaded"),
    ("on_image_uploaded", "store get"),
    ("on_image_uploaded", "store put"),
    ("on_image_uploaded", "postgresql tenant"),
    ("on_image_uploaded", "send deeplens.features.extraction"),
    ("on_extraction_requested", "process deeplens.features.extraction"),
    ("on_extraction_requested", "store get"),
    ("on_extraction_requested", "inference embeddings"),
    ("on_extraction_requested", "send deeplens.vectors.indexing"),
    ("on_extraction_requested", "send deeplens.tenant.usage"),
    ("on_indexing_requested", "process deeplens.vectors.indexing"),
    ("on_indexing_requested", "qdrant PUT points"),
    ("on_indexing_requested", "send deeplens.processing.completed"),
    ("on_processing_completed", "process deeplens.processing.completed"),
    ("on_processing_completed", "send deeplens.tenant.usage"),
    ("on_processing_completed", "send deeplens.tenant.notifications"),
    ("on_image_indexed", "process deeplens.processing.completed"),
    ("on_image_indexed", "postgresql tenant"),
    ("on_tenant_usage", "process deeplens.tenant.usage"),
    ("on_tenant_notification", "process deeplens.tenant.notifications"),
    ("on_tenant_notification", "webhook POST"),
}
RETRY_HOPS = {
    ("on_image_uploaded", "process deeplens.images.uploaded"),
    ("on_image_uploaded", "send deeplens.processing.failed"),
    ("on_processing_failed", "process deeplens.processing.failed"),
    ("on_processing_failed", "send delay queue"),
    ("on_retry_due", "process RetryQueue"),
    ("on_retry_due", "send deeplens.images.uploaded"),
    ("on_processing_failed", "send deeplens.processing.deadletter"),
    ("on_dead_letter", "process deeplens.processing.deadletter"),
    ("tools", "send deeplens.images.uploaded"),
    ("admin_api", "send deeplens.images.uploaded"),
    ("on_indexing_requested", "process deeplens.vectors.indexing"),
    ("on_processing_completed", "process deeplens.processing.completed"),
}
FIRST_TRY = f"00-{'ab' * 16}-{'cd' * 8}-01"


@pytest.fixture(scope="module")
def admin(stack: Stack, parts: Container) -> Iterator[httpx.Client]:
    headers = {"X-API-Key": parts.api_keys.create(None, "operator", (ADMIN,))}
    with httpx.Client(base_url=f"{stack.api_url}/v1/admin", headers=headers, timeout=60, trust_env=False) as http:
        yield http


@pytest.fixture(scope="module")
def traced(stack: Stack, parts: Container) -> TenantClient:
    return new_client(stack, parts, TENANT, "nfs")


type Shown = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def shown(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Shown:
    """What ``deeplens trace --json`` prints of an image; none while nothing is kept."""
    monkeypatch.setenv("DEEPLENS_STATE_DIR", str(stack.state_dir))

    def spans(image_id: str) -> list[dict[str, Any]]:
        ended = deeplens("trace", image_id, "--json")
        return list(json.loads(ended.output)["spans"]) if ended.exit_code == 0 else []

    return spans


def hops(spans: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(span["function"], span["name"]) for span in spans}


def open_letter(admin: httpx.Client, image_id: str, after: str = "") -> str:
    """The id of the open dead letter of an image; of a later one than ``after``."""

    def found() -> list[str]:
        letters = admin.get("/dead-letters", params={"tenant_id": TENANT}).json()["deadLetters"]
        of_image = [letter["deadLetterId"] for letter in letters if letter.get("imageId") == image_id]
        return [letter_id for letter_id in of_image if letter_id != after]

    return str(eventually(found)[0])


def missing(spans: list[dict[str, Any]], expected: set[tuple[str, str]]) -> set[tuple[str, str]]:
    return expected - hops(spans)


def test_a_photo_is_one_trace_with_a_span_for_every_hop(
    traced: TenantClient, admin: httpx.Client, endpoint: Endpoint, shown: Shown
) -> None:
    webhook = Webhook("whk_traced", TENANT, endpoint.url, ("image.completed",), traced.parts.clock.now())
    traced.parts.webhooks.save(webhook)
    image_id = traced.upload(picture(7700), "secret holiday.jpg")

    eventually(lambda: missing(shown(image_id), HOPS), lambda left: not left)
    spans = shown(image_id)

    assert len({span["traceId"] for span in spans}) == 1
    assert [span["name"] for span in spans if span["parentId"] is None] == ["POST /v1/images"]
    assert {span["error"] for span in spans} == {None}
    inference = next(span for span in spans if span["name"] == "inference embeddings")
    assert {"deeplens.inference.queue_ms", "deeplens.inference.decode_ms", "deeplens.inference.run_ms"} <= (
        inference["attributes"].keys()
    )
    ((headers, _),) = endpoint.heard
    webhook_span = next(span for span in spans if span["name"] == "webhook POST")
    assert headers["traceparent"] == f"00-{webhook_span['traceId']}-{webhook_span['spanId']}-01"
    assert "secret" not in json.dumps(spans)

    printed = deeplens("trace", image_id).output
    assert all(name in printed and function in printed for function, name in HOPS)
    by_trace = deeplens("trace", "--trace", spans[0]["traceId"], "--json")
    assert hops(json.loads(by_trace.output)["spans"]) == hops(spans)
    answer = admin.get(f"/tenants/{TENANT}/images/{image_id}/trace")
    assert answer.status_code == 200, answer.text
    assert not missing(answer.json()["spans"], {hop for hop in HOPS if hop[0] != "search_api" or "send" in hop[1]})
    assert admin.get(f"/tenants/tenant_other/images/{image_id}/trace").status_code == 404


def test_an_image_that_fails_is_retried_dead_lettered_and_replayed_is_one_trace(
    traced: TenantClient, admin: httpx.Client, shown: Shown
) -> None:
    parts, tenant, now = traced.parts, traced.tenant, traced.parts.clock.now()
    image_id, store = "img_traced1", parts.stores.for_tenant(tenant)
    path = store.uri(f"images/{image_id}.jpg")
    event = ImageUploaded(
        image_id=image_id,
        tenant_id=tenant.id,
        file_name="late.jpg",
        storage_path=path,
        mime_type="image/jpeg",
        size_bytes=1,
        uploaded_at=now,
        traceparent=FIRST_TRY,
    )
    # First there is no object, which is retried, then none that can be decoded, which is not, also not by a replay.
    assert parts.pending.admit(event, now + parts.pending_due).released
    parts.images.insert(tenant, NewImage(image_id, "late.jpg", path, "image/jpeg", 1, "0" * 64, now))
    parts.publisher.publish([OutgoingMessage(event, f"e2e-{image_id}")])
    eventually(lambda: [line for line in traced.image(image_id)["timeline"] if line.get("errorCode")])
    store.put(store.key_of(path), b"no image", "image/jpeg")
    assert traced.until_ended(image_id)["status"] == "failed"

    replayed = open_letter(admin, image_id)
    again = deeplens("dlq", "replay", replayed)
    assert again.exit_code == 0, again.output
    found = open_letter(admin, image_id, after=replayed)
    store.put(store.key_of(path), picture(7701), "image/jpeg")
    answer = admin.post(f"/dead-letters/{found}/replay")
    assert answer.status_code == 200, answer.text
    eventually(lambda: traced.image(image_id)["status"], lambda status: status == "completed")

    eventually(lambda: missing(shown(image_id), RETRY_HOPS), lambda left: not left)
    spans = shown(image_id)
    assert {span["traceId"] for span in spans} == {FIRST_TRY[3:35]}
    again = [span for span in spans if span["name"] == "send deeplens.images.uploaded"]
    first_try = {"traceId": FIRST_TRY[3:35], "spanId": FIRST_TRY[36:52]}
    assert all(first_try["traceId"] in {link["traceId"] for link in span["links"]} for span in again)
    replays = {span["function"]: span["attributes"].get("deeplens.replays") for span in again}
    assert replays == {"on_retry_due": None, "tools": 1, "admin_api": 2}
    errors = {span["error"] for span in spans if span["name"] == "process deeplens.images.uploaded"}
    assert {"OBJECT_NOT_FOUND", None} < errors


def test_a_frame_is_a_trace_of_its_own_that_is_linked_to_its_video(traced: TenantClient, shown: Shown) -> None:
    film = film_of([Image.open(BytesIO(picture(7710, side=240)))], 2)
    answer = traced.http.post("/videos", files={"file": ("film.mp4", film)})
    video_id = answer.json()["videoId"]
    frame = eventually(lambda: traced.http.get(f"/videos/{video_id}/frames").json()["frames"])[0]

    eventually(lambda: ("on_video_uploaded", "frame") in hops(shown(frame["imageId"])))
    spans = shown(frame["imageId"])
    root = next(span for span in spans if span["name"] == "frame")
    linked = {link["traceId"] for link in root["links"]}
    assert root["parentId"] is None
    assert linked
    video = json.loads(deeplens("trace", "--trace", linked.pop(), "--json").output)["spans"]
    assert ("search_api", "POST /v1/videos") in hops(video)
    assert root["traceId"] != video[0]["traceId"]
