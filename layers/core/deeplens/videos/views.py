"""Videos and their frames as the API shows them."""

from deeplens.images.model import ImageRecord
from deeplens.images.schemas import ImageError
from deeplens.images.views import STATUS, thumbnail_path
from deeplens.videos.model import VideoRecord
from deeplens.videos.schemas import (
    AcceptedVideo,
    FrameView,
    VideoLinks,
    VideoProgress,
    VideoView,
)


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


def _error(video: VideoRecord) -> ImageError | None:
    if video.status != "failed":
        return None
    return ImageError(
        code=video.error_code or "PROCESSING_FAILED",
        message=video.error_message or "processing failed",
        retryable=bool(video.error_retryable),
        attempt=1,
    )
