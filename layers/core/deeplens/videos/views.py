"""Videos and their frames as the API shows them."""

from typing import Any

from deeplens.http.schemas import ApiModel
from deeplens.images.model import ImageRecord
from deeplens.images.schemas import ImageError
from deeplens.images.views import STATUS, thumbnail_path
from deeplens.videos.model import VideoRecord
from deeplens.videos.schemas import AcceptedVideo, FrameView, VideoLinks, VideoProgress, VideoView


def path_of(video_id: str) -> str:
    return f"/v1/videos/{video_id}"


def poster_path(video_id: str) -> str:
    return f"{path_of(video_id)}/poster"


def links(video_id: str) -> VideoLinks:
    path = path_of(video_id)
    return VideoLinks(this=path, content=f"{path}/content", poster=poster_path(video_id), frames=f"{path}/frames")


def accepted(video: VideoRecord) -> AcceptedVideo:
    return AcceptedVideo(**_shared(video, AcceptedVideo) | {"status": "accepted"}, links=links(video.id))


def detail(video: VideoRecord) -> VideoView:
    return VideoView(
        **_shared(video, VideoView),
        progress=VideoProgress.model_validate(video, from_attributes=True),
        error=_error(video),
        links=links(video.id),
    )


def _shared(video: VideoRecord, schema: type[ApiModel]) -> dict[str, Any]:
    """The fields that a schema has under the same name as the row."""
    values = {name: getattr(video, name) for name in schema.model_fields if hasattr(video, name)}
    return values | {"video_id": video.id}


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
