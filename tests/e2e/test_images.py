"""An image is uploaded, searched and deleted over HTTP, through the broker and every function."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image

from local.demo.variants import variants_of
from tests.e2e.conftest import IN_EVERY_STORE, TenantClient, eventually, picture


@IN_EVERY_STORE
def test_an_upload_becomes_searchable_with_its_own_bytes_first(client: TenantClient) -> None:
    body = picture(1)
    image_id = client.completed(body, tags=["holiday", "sea"], metadata=json.dumps({"iso": 200}))

    first = client.search(body)[0]

    assert first["imageId"] == image_id
    assert first["score"] >= 0.999
    assert first["tags"] == ["holiday", "sea"]
    assert first["metadata"] == {"iso": 200}


def test_an_image_tells_its_stages_and_timings(client: TenantClient) -> None:
    image = client.image(client.completed(picture(2)))

    assert [entry["stage"] for entry in image["timeline"]] == ["accept", "preprocess", "extract", "index", "complete"]
    times = [entry["occurredAt"] for entry in image["timeline"]]
    assert times == sorted(times)
    assert (image["width"], image["height"]) == (320, 320)


def test_copies_find_their_original_before_any_other_image(client: TenantClient) -> None:
    others = [client.upload(picture(100 + seed)) for seed in range(8)]
    body = picture(3)
    image_id = client.completed(body)
    for other in others:
        client.until_ended(other)

    ranked = {name: client.search(copy, limit=1)[0]["imageId"] for name, copy in variants_of(body).items()}

    assert ranked == dict.fromkeys(ranked, image_id)


def test_similar_images_leave_out_the_image_itself(client: TenantClient) -> None:
    body = picture(4)
    image_id, twin_id = client.completed(body), client.completed(body)

    results = client.http.get(f"/images/{image_id}/similar", params={"limit": 5}).json()["results"]

    assert results[0]["imageId"] == twin_id
    assert image_id not in {hit["imageId"] for hit in results}


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "HEIF"])
def test_every_accepted_format_completes(client: TenantClient, image_format: str) -> None:
    if image_format == "HEIF":
        from pillow_heif import register_heif_opener

        register_heif_opener()
    body = picture(5, image_format=image_format)
    image = client.until_ended(client.upload(body, name="misnamed.jpg"))

    assert image["status"] == "completed"
    assert image["mimeType"] != "image/jpeg"


@IN_EVERY_STORE
def test_thumbnails_fit_their_box_and_are_made_again_when_lost(client: TenantClient) -> None:
    image_id = client.completed(picture(6, side=1200))
    for size, side in (("small", 128), ("medium", 512)):
        answer = client.http.get(f"/images/{image_id}/thumbnails/{size}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        assert max(Image.open(BytesIO(answer.content)).size) == side

    store = client.parts.stores.for_tenant(client.tenant)
    key = f"thumbnails/small/{image_id}.jpg"
    store.delete([key])

    assert client.http.get(f"/images/{image_id}/thumbnails/small").status_code == 200
    assert store.head(key).size_bytes > 0


def test_content_comes_back_unchanged(client: TenantClient) -> None:
    body = picture(7, image_format="PNG")
    answer = client.http.get(f"/images/{client.completed(body)}/content")
    assert (answer.content, answer.headers["content-type"]) == (body, "image/png")


@IN_EVERY_STORE
def test_a_presigned_url_reads_one_object_and_no_other(client: TenantClient) -> None:
    body = picture(15)
    image_id = client.completed(body)
    store = client.parts.stores.for_tenant(client.tenant)
    url = store.presign_get(f"images/{image_id}.jpg", timedelta(minutes=1))

    assert httpx.get(url, trust_env=False).content == body
    if client.tenant.storage_uri.startswith("nfs"):  # LocalStack does not check signatures as it is started here
        expired = store.presign_get(f"images/{image_id}.jpg", timedelta(seconds=-60))
        for refused in (expired, url.replace("images/", "processed/"), url[:-1]):
            assert httpx.get(refused, trust_env=False).status_code == 403


def test_a_changed_tag_is_searchable_without_embedding_again(client: TenantClient) -> None:
    body = picture(8)
    image_id = client.completed(body, tags=["before"])
    before = client.image(image_id)["timeline"]

    changed = client.http.patch(f"/images/{image_id}", json={"tags": ["after"], "metadata": {"rating": 5}})

    assert changed.status_code == 200
    assert [hit["imageId"] for hit in client.search(body, tag="after")] == [image_id]
    assert [hit["imageId"] for hit in client.search(body, metadata=json.dumps({"rating": 5}))] == [image_id]
    assert client.search(body, tag="before") == []
    assert client.image(image_id)["timeline"] == before


def test_the_same_idempotency_key_is_one_image_also_at_once(client: TenantClient) -> None:
    body = picture(9)

    def upload(_: int) -> Any:
        files = {"file": ("photo.jpg", body)}
        return client.http.post("/images", files=files, headers={"Idempotency-Key": "only-once"})

    with ThreadPoolExecutor(6) as clients:
        answers = list(clients.map(upload, range(6)))

    assert {answer.status_code for answer in answers} == {202}
    ids = {answer.json()["imageId"] for answer in answers}
    assert len(ids) == 1
    client.until_ended(ids.pop())
    other_bytes = {"file": ("photo.jpg", picture(10))}
    refused = client.http.post("/images", files=other_bytes, headers={"Idempotency-Key": "only-once"})
    assert refused.status_code == 422


@IN_EVERY_STORE
def test_a_deleted_image_is_gone_everywhere(client: TenantClient) -> None:
    body = picture(11)
    image_id = client.completed(body)
    assert [key for key in client.objects() if image_id in key]

    for _ in range(2):
        assert client.http.delete(f"/images/{image_id}").status_code == 202

    assert client.http.get(f"/images/{image_id}").status_code == 404
    assert image_id not in {hit["imageId"] for hit in client.search(body)}
    eventually(lambda: [key for key in client.objects() if image_id in key], lambda keys: not keys)
    eventually(lambda: client.parts.index.existing(client.tenant, [image_id]), lambda found: not found)
    with client.parts.connections.tenant(client.tenant) as connection:
        for table, column in (("images", "id"), ("image_events", "image_id")):
            statement = f"SELECT 1 FROM {table} WHERE {column} = %s"
            eventually(lambda s=statement: connection.execute(s, [image_id]).fetchall(), lambda rows: not rows)


def test_an_image_deleted_in_mid_pipeline_stays_deleted(client: TenantClient) -> None:
    bodies = [picture(200 + seed) for seed in range(12)]
    ids = [client.upload(body) for body in bodies]
    for image_id in ids:
        assert client.http.delete(f"/images/{image_id}").status_code == 202

    eventually(lambda: [k for k in client.objects() if any(i in k for i in ids)], lambda keys: not keys)
    eventually(client.pending, lambda count: count == 0)
    sentinel = client.completed(picture(250))
    assert sentinel
    assert client.parts.index.existing(client.tenant, ids) == set()
    assert not [key for key in client.objects() if any(image_id in key for image_id in ids)]


def test_nothing_stays_pending(client: TenantClient) -> None:
    client.completed(picture(12))
    eventually(client.pending, lambda count: count == 0)


def test_tenants_never_see_each_other(client: TenantClient, other: TenantClient) -> None:
    body = picture(13)
    image_id = client.completed(body)
    other.completed(picture(14))

    assert image_id not in {hit["imageId"] for hit in other.search(body, limit=100)}
    assert image_id not in {image["imageId"] for image in other.http.get("/images").json()["images"]}
    for method, path in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("GET", "/content"),
        ("GET", "/thumbnails/small"),
        ("GET", "/similar"),
    ):
        json_body = {"tags": ["mine"]} if method == "PATCH" else None
        assert other.http.request(method, f"/images/{image_id}{path}", json=json_body).status_code == 404
    assert client.image(image_id)["status"] == "completed"
