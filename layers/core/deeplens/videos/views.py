"""Videos and their frames as the API shows them."""

from deeplens.http.schemas import view
from deeplens.images.model import ImageRecord
from deeplens.images.views import STATUS, error_of, thumbnail_path
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
    return view(AcceptedVideo, video, video_id=video.id, status="accepted", links=links(video.id))


def detail(video: VideoRecord) -> VideoView:
    return view(
        VideoView,
        video,
        video_id=video.id,
        tags=list(video.tags),
        progress=view(VideoProgress, video),
        error=error_of(video) if video.status == "failed" else None,
        links=links(video.id),
    )


def frame(row: ImageRecord) -> FrameView:
    return FrameView(
        image_id=row.id,
        offset_seconds=row.frame_offset_seconds or 0.0,
        status=STATUS[row.step],
        thumbnail_url=thumbnail_path(row.id, "small"),
    )
