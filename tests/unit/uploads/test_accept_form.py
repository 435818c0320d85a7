import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from deeplens.errors import DatabaseUnavailable, StoreUnavailable, TenantStoreDenied
from deeplens.events.images import ImageUploaded
from deeplens.images.model import Step
from PIL import Image

from tests.harness.api import World, picture


def test_an_upload_is_accepted_stored_and_announced(world: World) -> None:
    body = picture()

    answer = world.upload(body, tags=["sea", "dawn", "sea"], metadata='{"camera": "X100", "iso": 200}')

    assert answer.status_code == 202
    accepted = answer.json()
    image_id = accepted["imageId"]
    assert answer.headers["location"] == accepted["links"]["self"] == f"/v1/images/{image_id}"
    assert accepted["status"] == "accepted"
    assert accepted["sha256"] == hashlib.sha256(body).hexdigest()
    assert world.stored() == [f"images/{image_id}.jpg"]
    row = world.images.find(world.acme, [image_id])[image_id]
    assert (row.tags, row.metadata) == (("sea", "dawn"), {"camera": "X100", "iso": 200})
    [message] = world.publisher.sent
    assert isinstance(message.event, ImageUploaded)
    assert message.event.storage_path == f"s3://tenant-acme/images/{image_id}.jpg"
    assert message.event.metadata["width"] == 64
    assert message.event.tenant_id == "tenant_acme"


def test_new_ids_sort_by_time(world: World) -> None:
    ids = [world.upload().json()["imageId"] for _ in range(5)]

    assert ids == sorted(ids)
    assert all(len(image_id) == 30 for image_id in ids)


def test_tags_may_be_one_json_list_and_blank_fields_are_none(world: World) -> None:
    listed = world.upload(tags='["a, b", "c"]').json()["imageId"]
    blank = world.upload(tags="", metadata=" ").json()["imageId"]

    rows = world.images.find(world.acme, [listed, blank])
    assert rows[listed].tags == ("a, b", "c")
    assert (rows[blank].tags, rows[blank].metadata) == ((), {})


def test_the_real_type_counts_not_the_name(world: World) -> None:
    answer = world.upload(picture(format="PNG"), name="../../evil\x1b.jpg").json()

    assert answer["mimeType"] == "image/png"
    assert answer["fileName"] == "evil.jpg"
    assert world.stored() == [f"images/{answer['imageId']}.png"]


def test_the_clients_trace_goes_on_with_the_event_and_a_new_one_is_made_otherwise(world: World) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    for header in (trace, "00-garbage"):
        world.client.post("/v1/images", files={"file": picture()}, headers={"traceparent": header})

    first, second = (message.traceparent for message in world.publisher.sent)
    assert first == trace
    assert second is not None
    assert second.startswith("00-")
    assert len(second) == len(trace)


BOMB = picture(size=(12_000, 9_000), format="PNG")


@pytest.mark.parametrize(
    ("body", "status", "problem"),
    [
        (b"", 422, "file-empty"),
        (b"just text", 415, "format-unsupported"),
        (b"%PDF-1.7 ...", 415, "format-unsupported"),
        (b"\xff\xd8\xff\xe0 no JPEG follows", 422, "image-corrupt"),
        (picture(format="PNG")[:30], 422, "image-corrupt"),
        (BOMB, 422, "too-many-pixels"),
        (picture() + bytes(4_400_000), 413, "file-too-large"),
        (picture() + bytes(5_000_000), 413, "file-too-large"),
    ],
    ids=["empty", "text", "pdf", "corrupt", "truncated header", "bomb", "too large", "far too large"],
)
def test_bad_files_are_refused_and_leave_nothing(world: World, body: bytes, status: int, problem: str) -> None:
    answer = world.upload(body)

    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{problem}")
    assert answer.headers["content-type"] == "application/problem+json"
    assert world.stored() == world.publisher.sent == []


@pytest.mark.parametrize(
    ("form", "pointer"),
    [
        ({"tags": ["x" * 65]}, "#/tags/0"),
        ({"tags": [f"t{i}" for i in range(51)]}, "#/tags"),
        ({"tags": "[1, 2]"}, "#/tags/0"),
        ({"tags": '["\\ud800"]'}, "#/tags"),
        ({"tags": "nul\x00"}, "#/tags/0"),
        ({"metadata": "[1]"}, "#/metadata"),
        ({"metadata": "{"}, "#/metadata"),
        ({"metadata": '{"a": {"b": 1}}'}, "#/metadata/a"),
        ({"metadata": '{"a": null}'}, "#/metadata/a"),
        ({"metadata": '{"a": 1e999}'}, "#/metadata/a"),
        ({"metadata": '{"a": "\\u0000"}'}, "#/metadata/a"),
        ({"metadata": json.dumps({"a": "x" * 1025})}, "#/metadata/a"),
        ({"metadata": json.dumps({f"k{i}": i for i in range(51)})}, "#/metadata"),
        ({"metadata": json.dumps({f"k{i}": "x" * 1000 for i in range(20)})}, "#/metadata"),
    ],
)
def test_bad_tags_and_metadata_are_refused_with_a_pointer(
    world: World, form: dict[str, str | list[str]], pointer: str
) -> None:
    answer = world.upload(**form)

    assert answer.status_code == 422
    assert any(fault["pointer"].startswith(pointer) for fault in answer.json()["errors"]), answer.json()
    assert world.publisher.sent == []


def test_a_request_without_a_file_says_so(world: World) -> None:
    answer = world.client.post("/v1/images", data={"tags": "x"})

    assert answer.status_code == 422
    assert {"in": "body", "pointer": "#/file", "detail": "Field required"} in answer.json()["errors"]


def test_a_broken_multipart_body_is_a_bad_request(world: World) -> None:
    answer = world.client.post(
        "/v1/images", content=b"--x\r\nnonsense", headers={"Content-Type": "multipart/form-data; boundary=x"}
    )

    assert (answer.status_code, answer.headers["content-type"]) in {
        (400, "application/problem+json"),
        (422, "application/problem+json"),
    }


@pytest.mark.parametrize("key", ["", " lead", "x" * 256])
def test_an_odd_idempotency_key_is_refused(world: World, key: str) -> None:
    answer = world.client.post("/v1/images", files={"file": picture()}, headers={"Idempotency-Key": key})

    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/invalid-idempotency-key")


def test_the_same_key_and_file_make_one_image(world: World) -> None:
    first, second = world.upload(key="k1"), world.upload(key="k1")

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == second.json()
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert len({message.event_id for message in world.publisher.sent}) == 1


def test_a_repeat_of_a_processed_upload_announces_nothing(world: World) -> None:
    image_id = world.upload(key="k1").json()["imageId"]
    world.reach(image_id, Step.COMPLETED)

    answer = world.upload(key="k1")

    assert answer.status_code == 202
    assert len(world.publisher.sent) == 1


def test_the_same_key_with_another_file_is_refused(world: World) -> None:
    world.upload(picture(1), key="k1")

    answer = world.upload(picture(2), key="k1")

    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/idempotency-key-reused")


def test_the_key_of_a_deleted_image_is_gone(world: World) -> None:
    world.mark_deleted(world.upload(key="k1").json()["imageId"])

    assert world.upload(key="k1").status_code == 410


def test_tenants_keys_do_not_meet(world: World) -> None:
    mine = world.upload(picture(1), key="k1").json()["imageId"]

    theirs = world.client_of(world.other).post(
        "/v1/images", files={"file": picture(2)}, headers={"Idempotency-Key": "k1"}
    )

    assert theirs.status_code == 202
    assert theirs.json()["imageId"] != mine


def test_simultaneous_repeats_make_one_image(world: World) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: world.upload(key="k1"), range(8)))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    assert len(world.stored()) == 1


def test_beyond_the_window_an_image_waits_unannounced(world: World) -> None:
    world.pending._window = 1
    first, second = world.upload().json()["imageId"], world.upload().json()["imageId"]

    assert [message.event.image_id for message in world.publisher.sent] == [first]
    [released] = world.pending.finish([("tenant_acme", first)], world.clock.now())
    assert released.image_id == second


def stop_at_admit(world: World) -> None:
    world.pending.admit = lambda event, due: raises(DatabaseUnavailable("platform"))


def stop_at_put(world: World) -> None:
    world.stores.for_tenant(world.acme).failure = StoreUnavailable("bucket", retry_after_seconds=3.2)


def stop_at_denied_put(world: World) -> None:
    world.stores.for_tenant(world.acme).failure = TenantStoreDenied("access denied")


def stop_at_insert(world: World) -> None:
    world.images.insert = lambda tenant, image, limits: raises(DatabaseUnavailable("tenant"))


def stop_at_publish(world: World) -> None:
    world.publisher.away = 1


def raises(error: Exception) -> None:
    raise error


def mend(world: World) -> None:
    world.stores.for_tenant(world.acme).failure = None
    for part, method in ((world.pending, "admit"), (world.images, "insert")):
        part.__dict__.pop(method, None)


@pytest.mark.parametrize("stop", [stop_at_admit, stop_at_put, stop_at_denied_put, stop_at_insert, stop_at_publish])
def test_an_upload_that_stopped_anywhere_is_resumed_by_its_key(world: World, stop: Callable[[World], None]) -> None:
    stop(world)
    failed = world.upload(key="k1")
    assert failed.status_code == 503
    assert int(failed.headers["retry-after"]) >= 1
    assert world.publisher.sent == []

    mend(world)
    resumed = world.upload(key="k1")

    assert resumed.status_code == 202
    image_id = resumed.json()["imageId"]
    assert world.stored() == [f"images/{image_id}.jpg"]
    assert [message.event.image_id for message in world.publisher.sent] == [image_id]
    assert world.client.get(f"/v1/images/{image_id}").json()["status"] == "accepted"


def test_the_pixel_limit_is_checked_without_decoding(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.Image, "load", lambda self: raises(AssertionError("decoded")))

    assert world.upload(BOMB).status_code == 422
