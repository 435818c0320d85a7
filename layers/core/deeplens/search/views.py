"""Search results as HTTP bodies."""

from collections.abc import Sequence

from deeplens.embedding.model import Thresholds
from deeplens.http.schemas import view
from deeplens.images.model import ImageRecord
from deeplens.images.views import thumbnail_path
from deeplens.search.schemas import SearchResult
from deeplens.vectors.ports import Match
from deeplens.videos.schemas import MatchingFrame, VideoMatch
from deeplens.videos.views import poster_path


def result(rank: int, group: Sequence[tuple[Match, ImageRecord]], thresholds: Thresholds | None) -> SearchResult:
    """An image, or a video by its best frame. Everything but the score and its label comes from the row."""
    match, image = group[0]
    return view(
        SearchResult,
        image,
        rank=rank,
        image_id=image.id,
        score=round(match.score, 6),
        match=thresholds.label(match.score) if thresholds else None,
        thumbnail_url=thumbnail_path(image.id, "small"),
        tags=list(image.tags),
        video=_video(image.video_id, group) if image.video_id else None,
    )


def _video(video_id: str, frames: Sequence[tuple[Match, ImageRecord]]) -> VideoMatch:
    """The frames that were found, best first."""
    return VideoMatch(
        video_id=video_id,
        offset_seconds=frames[0][1].frame_offset_seconds or 0.0,
        frames=[
            MatchingFrame(
                image_id=row.id,
                offset_seconds=row.frame_offset_seconds or 0.0,
                score=round(match.score, 6),
                thumbnail_url=thumbnail_path(row.id, "small"),
            )
            for match, row in frames
        ],
        poster_url=poster_path(video_id),
    )
