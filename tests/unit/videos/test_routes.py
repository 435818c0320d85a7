"""/v1/videos, and videos in searches."""

from dataclasses import replace

import pytest
from deeplens.errors import StoreUnavailable
from deeplens.events.maintenance import ImageMaintenance
from deeplens.events.videos import VideoUploaded
from deeplens.images.model import Step
from deeplens.tenants.limits import ResourceLimits

from tests.harness.api import MP4_HEAD, World, picture

FILM = {"file": ("../harbour.mp4", MP4_HEAD)}


def upload(world: World, body: bytes = MP4_HEAD, key: str | None = None):  # type: ignore[no-untyped-def]
    headers = {"Idempotency-Key": key} if key else {}
    return world.client.post("/v1/videos", files={"file": ("harbour.mp4", body)}, data={"tags": "sea"}, headers=headers)


def search(world: World, seed: int, **query: object) -> list[dict[str, object]]:
    answer = world.client.post("/v1/search/image", files={"file": ("q.jpg", picture(seed))}, params=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["results"])


def test_an_upload_is_remembered_stored_and_published(world: World) -> None:
    answer = upload(world)
    video_id = answer.json()["videoId"]

    assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/videos/{video_id}")
    assert world.stored() == [f"videos/{video_id}.mp4"]
    assert (world.acme.id, video_id) in world.pending_videos.rows
    (message,) = world.publisher.sent
    assert isinstance(message.event, VideoUploaded)
    assert message.event.storage_path == f"s3://tenant-acme/videos/{video_id}.mp4"
    shown = world.client.get(f"/v1/videos/{video_id}").json()
    assert (shown["status"], shown["tags"], shown["progress"]["segments"]) == ("accepted", ["sea"], None)


def test_a_repeat_with_the_same_key_is_the_same_video(world: World) -> None:
    first, again = upload(world, key="k"), upload(world, key="k")
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert {message.event_id for message in world.publisher.sent} == {world.publisher.sent[0].event_id}


def test_a_key_is_good_for_one_file_and_not_after_deletion(world: World) -> None:
    video_id = upload(world, key="k").json()["videoId"]
    other = upload(world, MP4_HEAD + b"x", key="k")
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert world.stores.for_tenant(world.acme).get(f"videos/{video_id}.mp4") == MP4_HEAD
    world.client.delete(f"/v1/videos/{video_id}")
    assert upload(world, key="k").json()["type"] == "/problems/video-deleted"


def test_another_file_under_a_key_that_is_being_accepted_replaces_nothing(world: World) -> None:
    store, put = world.stores.for_tenant(world.acme), world.stores.for_tenant(world.acme).put
    store.put = lambda *_: (_ for _ in ()).throw(StoreUnavailable("away"))  # type: ignore[method-assign]
    assert upload(world, key="k").status_code == 503
    store.put = put  # type: ignore[method-assign]
    assert upload(world, MP4_HEAD + b"x", key="k").json()["type"] == "/problems/idempotency-key-reused"
    assert world.stored() == []
    video_id = upload(world, key="k").json()["videoId"]
    assert store.get(f"videos/{video_id}.mp4") == MP4_HEAD


def test_a_broker_that_is_away_is_told_and_the_same_key_resumes(world: World) -> None:
    world.publisher.away = 1
    assert upload(world, key="k").status_code == 503
    assert upload(world, key="k").status_code == 202
    assert len(world.publisher.sent) == 1


@pytest.mark.parametrize(
    ("body", "status", "problem"),
    [
        (picture(1), 415, "video-format-unsupported"),
        (b"#EXTM3U\nhttp://localhost/", 415, "video-format-unsupported"),
        (b"", 422, "file-empty"),
        (MP4_HEAD + bytes(4_400_000), 413, "file-too-large"),
    ],
)
def test_what_is_no_video_is_refused_at_once(world: World, body: bytes, status: int, problem: str) -> None:
    answer = upload(world, body)
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{problem}")
    assert world.stored() == []
    assert world.pending_videos.rows == {}


def test_a_video_counts_towards_the_bytes(world: World) -> None:
    world.tenants.add(replace(world.acme, limits=ResourceLimits(max_bytes=100)))
    answer = upload(world)
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/quota-exceeded")
    assert world.stored() == []


def test_videos_are_listed_newest_first_in_pages(world: World) -> None:
    ids = [upload(world).json()["videoId"] for _ in range(3)]
    first = world.client.get("/v1/videos", params={"limit": 2}).json()
    second = world.client.get("/v1/videos", params={"limit": 2, "cursor": first["nextCursor"]}).json()
    assert [video["videoId"] for page in (first, second) for video in page["videos"]] == ids[::-1]
    assert second["nextCursor"] is None
    assert world.client.get("/v1/videos", params={"status": "completed"}).json()["videos"] == []
    assert world.client.get("/v1/videos", params={"tag": "desert"}).json()["videos"] == []


def test_a_video_shows_poster_content_and_frames(world: World) -> None:
    world.video("vid_a", frames=[(0, 1), (7.5, 2)])
    shown = world.client.get("/v1/videos/vid_a").json()
    assert (shown["status"], shown["progress"]["framesCompleted"]) == ("completed", 2)
    assert world.client.get(shown["links"]["poster"]).content == picture(1)
    assert "videos/vid_a.mp4" in world.client.get(shown["links"]["content"]).headers["location"]
    frames = world.client.get(shown["links"]["frames"]).json()["frames"]
    assert [frame["offsetSeconds"] for frame in frames] == [0, 7.5]
    assert world.client.get(frames[1]["thumbnailUrl"]).status_code == 200
    later = world.client.get(shown["links"]["frames"], params={"begin": 5}).json()["frames"]
    assert later == frames[1:]


def test_frames_are_in_no_list_of_images_but_can_be_looked_at(world: World) -> None:
    image_id = world.searchable(9)
    world.video("vid_a", frames=[(7.5, 2)])
    assert [image["imageId"] for image in world.client.get("/v1/images").json()["images"]] == [image_id]
    frame = world.client.get("/v1/images/img_a7500").json()
    assert (frame["videoId"], frame["offsetSeconds"]) == ("vid_a", 7.5)


def test_a_search_gives_each_video_once_by_its_best_frame(world: World) -> None:
    world.video("vid_a", frames=[(0, 1), (5, 2), (10, 3)])
    world.video("vid_b", frames=[(0, 4), (5, 5)])
    photo = world.searchable(6)

    results = search(world, 2)

    assert [result["video"]["videoId"] if result["video"] else result["imageId"] for result in results[:1]] == ["vid_a"]
    assert (results[0]["imageId"], results[0]["video"]["offsetSeconds"]) == ("img_a5000", 5)
    assert results[0]["fileName"] == "vid_a.mp4"
    shown = [frame["imageId"] for frame in results[0]["video"]["frames"]]
    assert shown[0] == "img_a5000"
    assert set(shown) == {"img_a0", "img_a5000", "img_a10000"}
    videos = [result["video"]["videoId"] for result in results if result["video"]]
    assert sorted(videos) == ["vid_a", "vid_b"]
    assert photo in {result["imageId"] for result in results}
    assert [result["rank"] for result in results] == [1, 2, 3]
    scores = [result["score"] for result in results]
    assert scores == sorted(scores, reverse=True)


def test_a_long_film_of_one_view_hides_nothing_else(world: World) -> None:
    world.video("vid_a", frames=[(second, 1) for second in range(60)])
    photos = {world.searchable(seed) for seed in range(2, 7)}

    results = search(world, 1, limit=6)

    assert len(results) == 6
    assert {result["imageId"] for result in results[1:]} == photos
    assert len(results[0]["video"]["frames"]) == 10


def test_a_frame_is_not_compared_with_others_of_its_video(world: World) -> None:
    world.video("vid_a", frames=[(0, 1), (5, 1)])
    world.video("vid_b", frames=[(3, 1)])
    for answer in (
        world.client.get("/v1/images/img_a0/similar"),
        world.client.post("/v1/search/similar", json={"imageIds": ["img_a0"]}),
    ):
        assert [result["video"]["videoId"] for result in answer.json()["results"]] == ["vid_b"]


def test_a_deleted_video_is_gone_from_every_answer_at_once(world: World) -> None:
    world.video("vid_a", frames=[(0, 1)])
    for _ in range(2):
        assert world.client.delete("/v1/videos/vid_a").json() == {"videoId": "vid_a", "status": "deleting"}
    for path in ("", "/frames", "/poster", "/content"):
        assert world.client.get(f"/v1/videos/vid_a{path}").status_code == 404
    assert world.client.get("/v1/images/img_a0").status_code == 404
    assert search(world, 1) == []
    assert world.client.get("/v1/videos").json()["videos"] == []
    events = [message.event for message in world.publisher.sent]
    assert [(event.subject, event.video_id) for event in events if isinstance(event, ImageMaintenance)] == [
        ("video", "vid_a")
    ] * 2


@pytest.mark.parametrize("video_id", ["vid_none", "img_a", "VID_A", "vid_..%2fa"])
def test_what_is_not_there_is_not_found(world: World, video_id: str) -> None:
    answer = world.client.get(f"/v1/videos/{video_id}")
    assert answer.status_code == 404


def test_a_failed_video_says_why(world: World) -> None:
    video_id = upload(world).json()["videoId"]
    world.videos.fail(world.acme, video_id, "VIDEO_ENCRYPTED", "the video is encrypted (DRM)", False)
    error = world.client.get(f"/v1/videos/{video_id}").json()["error"]
    assert (error["code"], error["retryable"]) == ("VIDEO_ENCRYPTED", False)


def test_a_failed_frame_can_be_retried_as_a_frame(world: World) -> None:
    world.video("vid_a", frames=[(0, 1)])
    world.reach("img_a0", Step.COMPLETED)
    world.images.advance(world.acme, [])
    failed = replace(world.images.find(world.acme, ["img_a0"])["img_a0"], step=Step.FAILED)
    world.images._rows[world.acme.id]["img_a0"] = failed
    assert world.client.post("/v1/images/img_a0/retry").status_code == 202
    assert world.publisher.sent[-1].event.video_id == "vid_a"
