"""Search results as HTTP bodies."""

from collections.abc import Sequence

from deeplens.embedding.model import Thresholds
from deeplens.images.model import ImageRecord
from deeplens.images.views import thumbnail_path
from deeplens.search.schemas import SearchResult
from deeplens.vectors.ports import Match
from deeplens.videos.schemas import MatchingFrame, VideoMatch
from deeplens.videos.views import poster_path


def match(frames: Sequence[tuple[Match, ImageRecord]]) -> VideoMatch | None:
    """What a result says of its video: its frames that were found, best first; None for an image."""
    best = frames[0][1]
    if best.video_id is None:
        return None
    return VideoMatch(
        video_id=best.video_id,
        offset_seconds=best.frame_offset_seconds or 0.0,
        frames=[
            MatchingFrame(
                image_id=row.id,
                offset_seconds=row.frame_offset_seconds or 0.0,
                score=round(hit.score, 6),
                thumbnail_url=thumbnail_path(row.id, "small"),
            )
            for hit, row in frames
        ],
        poster_url=poster_path(best.video_id),
    )


def result(
    rank: int, match: Match, image: ImageRecord, thresholds: Thresholds | None, video: VideoMatch | None
) -> SearchResult:
    """Everything but the score and its label comes from the row: it is what the tenant last said."""
    return SearchResult(
        rank=rank,
        image_id=image.id,
        score=round(match.score, 6),
        match=thresholds.label(match.score) if thresholds else None,
        thumbnail_url=thumbnail_path(image.id, "small"),
        file_name=image.file_name,
        tags=list(image.tags),
        metadata=image.metadata,
        uploaded_at=image.uploaded_at,
        video=video,
    )
