from io import BytesIO

import pytest
from deeplens.http.files import disposition, matches
from deeplens.images.keys import processed_key, thumbnail_key
from PIL import Image

from tests.harness.api import World, picture


def test_the_original_comes_back_byte_for_byte_and_safe_to_show(world: World) -> None:
    body = picture(format="PNG")
    image_id = world.upload(body, name="a b; ünï.png").json()["imageId"]

    answer = world.client.get(f"/v1/images/{image_id}/content")

    assert (answer.status_code, answer.content) == (200, body)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "private, no-cache"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["content-disposition"] == (
        "inline; filename=\"a b; _n_.png\"; filename*=UTF-8''a%20b%3B%20%C3%BCn%C3%AF.png"
    )


def test_a_file_name_cannot_break_out_of_its_header() -> None:
    header = disposition('a"; x="\\b%.jpg')

    assert header.partition("; filename*=")[0] == 'inline; filename="a_; x=__b_.jpg"'


@pytest.mark.parametrize("part", ["content", "thumbnails/small"])
def test_what_the_client_has_already_is_not_sent_again(world: World, part: str) -> None:
    image_id = world.upload().json()["imageId"]
    first = world.client.get(f"/v1/images/{image_id}/{part}")

    again = world.client.get(f"/v1/images/{image_id}/{part}", headers={"If-None-Match": first.headers["etag"]})
    other = world.client.get(f"/v1/images/{image_id}/{part}", headers={"If-None-Match": '"other"'})

    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert other.status_code == 200


@pytest.mark.parametrize(
    ("header", "expected"),
    [(None, False), ("*", True), ('"a"', True), ('W/"a"', True), ('"b", "a"', True), ('"aa"', False), ("a", False)],
)
def test_if_none_match(header: str | None, expected: bool) -> None:
    assert matches(header, '"a"') is expected


def test_a_file_too_large_for_one_answer_is_handed_over_by_a_signed_url() -> None:
    world = World(max_upload_bytes=2000)
    image_id = world.upload(picture()).json()["imageId"]
    world.settings = world.settings.model_copy(update={"max_upload_bytes": 10})

    answer = world.client.get(f"/v1/images/{image_id}/content")

    assert answer.status_code == 307
    assert answer.headers["location"] == f"https://store.example/images/{image_id}.jpg?expires=300"
    assert answer.headers["cache-control"] == "no-store"


def test_a_missing_original_is_a_problem_not_a_crash(world: World) -> None:
    image_id = world.upload().json()["imageId"]
    world.stores.for_tenant(world.acme).delete([f"images/{image_id}.jpg"])

    answer = world.client.get(f"/v1/images/{image_id}/content")

    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/content-not-found")


def test_a_stored_thumbnail_is_served_as_it_is(world: World) -> None:
    image_id = world.upload().json()["imageId"]
    world.stores.for_tenant(world.acme).put(thumbnail_key(image_id, "small"), b"as stored", "image/jpeg")

    answer = world.client.get(f"/v1/images/{image_id}/thumbnails/small")

    assert (answer.content, answer.headers["content-type"]) == (b"as stored", "image/jpeg")
    assert answer.headers["cache-control"] == "private, max-age=3600"


@pytest.mark.parametrize(("size", "fits"), [("small", (128, 96)), ("medium", (512, 384))])
@pytest.mark.parametrize("source", ["original", "processed"])
def test_a_missing_thumbnail_is_made_once_and_kept(world: World, size: str, fits: tuple[int, int], source: str) -> None:
    image_id = world.upload(picture(size=(1024, 768))).json()["imageId"]
    store = world.stores.for_tenant(world.acme)
    if source == "processed":
        store.put(processed_key(image_id), picture(size=(683, 512)), "image/jpeg")
        store.delete([f"images/{image_id}.jpg"])

    answer = world.client.get(f"/v1/images/{image_id}/thumbnails/{size}")

    assert Image.open(BytesIO(answer.content)).size == fits
    assert store.get(thumbnail_key(image_id, size)) == answer.content


def test_a_thumbnail_made_while_its_image_was_deleted_does_not_stay(world: World) -> None:
    image_id = world.upload().json()["imageId"]
    store = world.stores.for_tenant(world.acme)
    put = store.put

    def put_and_bury(key: str, body: bytes, content_type: str) -> None:
        put(key, body, content_type)
        world.mark_deleted(image_id)

    store.put = put_and_bury

    assert world.client.get(f"/v1/images/{image_id}/thumbnails/small").status_code == 404
    assert world.stored("thumbnails/") == []


def test_an_image_that_cannot_be_decoded_has_no_thumbnail(world: World) -> None:
    broken = picture(size=(600, 400))
    image_id = world.upload(broken[: len(broken) // 2]).json()["imageId"]

    answer = world.client.get(f"/v1/images/{image_id}/thumbnails/small")

    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/thumbnail-unavailable")
    assert world.stored("thumbnails/") == []


def test_only_known_thumbnail_sizes_are_served(world: World) -> None:
    image_id = world.upload().json()["imageId"]

    assert world.client.get(f"/v1/images/{image_id}/thumbnails/huge").status_code == 422
