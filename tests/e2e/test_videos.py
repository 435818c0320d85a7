"""A video is uploaded, searched by its frames and deleted over HTTP, through the broker and every function."""

from io import BytesIO
from typing import Any

import httpx
import pytest
from deeplens.access.scopes import ADMIN
from deeplens.bootstrap.container import Container
from deeplens.common.outgoing import OutgoingMessage
from deeplens.events.videos import VideoUploaded
from deeplens.videos.accept import AcceptVideo
from deeplens.videos.model import NewVideo
from PIL import Image

from local.stack.stack import Stack
from tests.e2e.conftest import IN_EVERY_STORE, TenantClient, eventually, new_client, picture
from tests.harness.films import encrypted, film_of, sound

SCENES = 4
SECONDS = 3


def views(seed: int) -> list[bytes]:
    """Pictures that no other seed gives, one per scene."""
    return [picture(seed * 100 + number, side=240) for number in range(SCENES)]


def movie(seed: int, codec: str = "libx264", container: str = "mp4") -> bytes:
    return film_of([Image.open(BytesIO(view)) for view in views(seed)], SECONDS, codec=codec, container=container)


def upload(client: TenantClient, body: bytes, **form: Any) -> str:
    answer = client.http.post("/videos", files={"file": ("film.mp4", body)}, data=form)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["videoId"])


def video(client: TenantClient, video_id: str) -> dict[str, Any]:
    answer = client.http.get(f"/videos/{video_id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def ended(client: TenantClient, video_id: str) -> dict[str, Any]:
    return eventually(lambda: video(client, video_id), lambda image: image["status"] in ("completed", "failed"))


def frames(client: TenantClient, video_id: str) -> list[dict[str, Any]]:
    return list(client.http.get(f"/videos/{video_id}/frames").json()["frames"])


@IN_EVERY_STORE
def test_a_video_is_found_by_any_of_its_scenes_at_the_right_time(client: TenantClient) -> None:
    photo = client.completed(picture(901))
    video_id = upload(client, movie(1), tags="film")

    done = ended(client, video_id)

    assert done["status"] == "completed", done
    assert done["durationSeconds"] == pytest.approx(SCENES * SECONDS, abs=0.2)
    assert done["progress"]["framesCompleted"] == done["progress"]["frames"] >= SCENES
    for number, view in enumerate(views(1)):
        best = client.search(view, limit=20)[0]
        assert best["video"]["videoId"] == video_id
        offset = best["video"]["offsetSeconds"]
        assert number * SECONDS - 0.2 <= offset < (number + 1) * SECONDS
        assert client.http.get(best["video"]["posterUrl"].removeprefix("/v1")).headers["content-type"] == "image/jpeg"
        assert client.http.get(best["thumbnailUrl"].removeprefix("/v1")).status_code == 200
    results = client.search(views(1)[0], limit=100)
    assert [result["video"]["videoId"] for result in results if result["video"]].count(video_id) == 1
    assert photo in {result["imageId"] for result in results}
    listed = client.http.get("/images", params={"limit": 200}).json()["images"]
    assert {frame["imageId"] for frame in frames(client, video_id)}.isdisjoint(image["imageId"] for image in listed)


@pytest.mark.parametrize(("codec", "container"), [("libvpx-vp9", "webm"), ("mpeg4", "avi"), ("libx264", "mpegts")])
def test_other_kinds_of_files_complete(client: TenantClient, codec: str, container: str) -> None:
    done = ended(client, upload(client, movie(2, codec, container)))
    assert done["status"] == "completed", done
    assert done["progress"]["frames"] >= SCENES


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (movie(3)[:20_000], "VIDEO_TRUNCATED"),
        (encrypted(), "VIDEO_ENCRYPTED"),
        (sound(), "VIDEO_WITHOUT_PICTURES"),
    ],
    ids=["truncated", "encrypted", "sound only"],
)
def test_a_file_that_cannot_be_worked_fails_with_its_reason(client: TenantClient, body: bytes, code: str) -> None:
    done = ended(client, upload(client, body))
    assert (done["status"], done["error"]["code"], done["error"]["retryable"]) == ("failed", code, False)
    letters = "SELECT 1 FROM dead_letters WHERE tenant_id = %s AND error_code = %s"
    eventually(lambda: client.rows(letters, [client.tenant.id, code]))


def test_a_deleted_video_takes_frames_vectors_and_objects_with_it(client: TenantClient) -> None:
    video_id = upload(client, movie(4))
    assert ended(client, video_id)["status"] == "completed"
    ids = [frame["imageId"] for frame in frames(client, video_id)]
    assert [key for key in client.objects() if video_id in key]

    assert client.http.delete(f"/videos/{video_id}").status_code == 202

    assert client.http.get(f"/videos/{video_id}").status_code == 404
    assert video_id not in {(match["video"] or {}).get("videoId") for match in client.search(views(4)[0], limit=50)}
    belongs = lambda key: any(file_id in key for file_id in (video_id, *ids))  # noqa: E731
    eventually(lambda: [key for key in client.objects() if belongs(key)], lambda keys: not keys)
    eventually(lambda: client.parts.index.existing(client.tenant, ids), lambda found: not found)
    eventually(lambda: client.parts.videos.frame_ids(client.tenant, video_id), lambda found: not found)


def test_a_video_deleted_in_mid_work_stays_deleted(client: TenantClient) -> None:
    video_id = upload(client, movie(5))
    assert client.http.delete(f"/videos/{video_id}").status_code == 202
    still = "SELECT 1 FROM pending_videos WHERE tenant_id = %s AND video_id = %s"
    eventually(lambda: client.rows(still, [client.tenant.id, video_id]), lambda count: count == 0)
    assert ended(client, upload(client, movie(6)))["status"] == "completed"
    eventually(lambda: [key for key in client.objects() if video_id in key], lambda keys: not keys)
    assert client.parts.videos.frame_ids(client.tenant, video_id) == []


def test_an_object_that_lies_in_the_store_already_becomes_a_video(client: TenantClient, parts: Container) -> None:
    """As uploads past the API do, with an id of their own."""
    store, key, body = parts.stores.for_tenant(client.tenant), "videos/vid_big.mp4", movie(7)
    store.put(key, body, "video/mp4")
    accept = AcceptVideo(parts.videos, parts.pending_videos, parts.pending_videos_due, parts.clock)
    new = NewVideo("vid_big", "big.mp4", store.uri(key), "video/mp4", len(body), None, parts.clock.now())
    _, event = accept(client.tenant, new)
    assert isinstance(event, VideoUploaded)
    assert parts.publisher.publish([OutgoingMessage(event, "an-event-id")] * 2) == [True, True]
    assert ended(client, "vid_big")["status"] == "completed"


def test_a_tenant_decides_how_densely_its_videos_are_taken(stack: Stack, parts: Container) -> None:
    client = new_client(stack, parts, "tenant_dense", "nfs")
    key = parts.api_keys.create(None, "operator", (ADMIN,))
    with httpx.Client(base_url=stack.api_url, headers={"X-API-Key": key}, trust_env=False) as operator:
        video_settings = {"video": {"frameEverySeconds": 1, "maxFrames": 6}}
        shown = operator.patch(f"/v1/admin/tenants/{client.tenant.id}", json=video_settings).json()
        refused = operator.patch(f"/v1/admin/tenants/{client.tenant.id}", json={"video": {"maxFrames": 0}})
    assert shown["video"] == {"frameEverySeconds": 1, "maxFrames": 6, "inDuplicateReview": False}
    assert refused.status_code == 422
    done = ended(client, upload(client, movie(8)))
    assert (done["status"], done["progress"]["frames"]) == ("completed", 6)


def test_tenants_never_see_each_others_videos(client: TenantClient, other: TenantClient) -> None:
    video_id = upload(client, movie(9))
    assert ended(client, video_id)["status"] == "completed"
    ids = [frame["imageId"] for frame in frames(client, video_id)]

    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/frames"), ("GET", "/poster"), ("GET", "/content")):
        assert other.http.request(method, f"/videos/{video_id}{path}").status_code == 404
    for image_id in ids:
        assert other.http.get(f"/images/{image_id}/thumbnails/small").status_code == 404
    assert other.http.get("/videos").json()["videos"] == []
    seen = {match["imageId"] for match in other.search(views(9)[0], limit=100)}
    assert seen.isdisjoint(ids)
    assert video(client, video_id)["status"] == "completed"


def test_nothing_of_videos_stays_pending(client: TenantClient) -> None:
    eventually(client.pending, lambda count: count == 0)
    waiting = "SELECT 1 FROM pending_videos WHERE tenant_id = %s"
    eventually(lambda: client.rows(waiting, [client.tenant.id]), lambda count: count == 0)
