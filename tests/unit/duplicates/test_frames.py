"""Frames of videos in duplicate review: not unless the tenant asks, and never within their video."""

from dataclasses import replace

from deeplens.tenants.model import VideoSettings

from tests.harness.films import BLUE, GREEN, RED, film
from tests.harness.flow import Flow

FILM = film((RED, GREEN, BLUE), 2)


def pairs(flow: Flow) -> list[set[str | None]]:
    """Of every pair in review, the videos that its images are of."""
    rows = flow.images.rows(flow.acme)
    groups = flow.duplicates.page(flow.acme, 99, None)
    shown = [pair for group in groups for pair in group.pairs]
    return [{rows[pair.first_id].video_id, rows[pair.second_id].video_id} for pair in shown]


def twice(flow: Flow) -> None:
    for video_id in ("vid_1", "vid_2"):
        flow.accept_video(FILM, video_id)
    flow.run()
    assert len(flow.images.rows(flow.acme)) >= 4


def test_the_same_film_twice_is_not_reviewed() -> None:
    flow = Flow()
    twice(flow)
    assert pairs(flow) == []


def test_a_tenant_that_asks_for_frames_reviews_those_of_different_videos() -> None:
    flow = Flow()
    flow.acme = replace(flow.acme, video=VideoSettings(in_duplicate_review=True))
    flow.tenants.add(flow.acme)
    twice(flow)
    assert pairs(flow)
    assert all(videos == {"vid_1", "vid_2"} for videos in pairs(flow))
