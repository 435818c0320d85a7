"""Videos and their frames as the API shows them."""

from collections.abc import Sequence

from deeplens.api.views import STATUS, thumbnail_path
from deeplens.contracts.api import ImageError
from deeplens.contracts.videos import (
    AcceptedVideo,
    FrameView,
    MatchingFrame,
    VideoLinks,
    VideoMatch,
    VideoProgress,
    VideoView,
)
from deeplens.domain import ImageRecord, Match
from deeplens.videos import VideoRecord


def path_of(video_id: str) -> str:
    return f"/v1/videos/{video_id}"


def poster_path(video_id: str) -> str:
    return f"{path_of(video_id)}/poster"


def links(video_id: str) -> VideoLinks:
    path = path_of(video_id)
    return VideoLinks(this=path, content=f"{path}/content", poster=poster_path(video_id), frames=f"{path}/frames")


def accepted(video: VideoRecord) -> AcceptedVideo:
    return AcceptedVideo(
        video_id=video.id,
        file_name=video.file_name,
        mime_type=video.mime_type,
        size_bytes=video.size_bytes,
        uploaded_at=video.uploaded_at,
        links=links(video.id),
    )


def shown(video: VideoRecord) -> VideoView:
    return VideoView(
        video_id=video.id,
        status=video.status,
        file_name=video.file_name,
        mime_type=video.mime_type,
        size_bytes=video.size_bytes,
        tags=list(video.tags),
        metadata=video.metadata,
        uploaded_at=video.uploaded_at,
        updated_at=video.updated_at,
        completed_at=video.completed_at,
        duration_seconds=video.duration_seconds,
        width=video.width,
        height=video.height,
        fps=video.fps,
        codec=video.codec,
        container=video.container,
        progress=VideoProgress(
            segments=video.segments,
            segments_done=video.segments_done,
            frames=video.frames,
            frames_completed=video.frames_completed,
            frames_failed=video.frames_failed,
        ),
        error=_error(video),
        links=links(video.id),
    )


def frame(row: ImageRecord) -> FrameView:
    return FrameView(
        image_id=row.id,
        offset_seconds=row.frame_offset_seconds or 0.0,
        status=STATUS[row.step],
        thumbnail_url=thumbnail_path(row.id, "small"),
    )


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


def _error(video: VideoRecord) -> ImageError | None:
    if video.status != "failed":
        return None
    return ImageError(
        code=video.error_code or "PROCESSING_FAILED",
        message=video.error_message or "processing failed",
        retryable=bool(video.error_retryable),
        attempt=1,
    )
