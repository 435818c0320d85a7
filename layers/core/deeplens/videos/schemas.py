"""HTTP bodies of videos and their frames."""

from typing import Any, Literal

from pydantic import AwareDatetime, Field

from deeplens.http.schemas import AT, VIDEO_ID, ApiModel, example
from deeplens.images.schemas import ImageError, MediaListQuery, Status

VideoState = Literal["accepted", "processing", "completed", "failed"]
FRAME_ID = "img_5f1d3c0e9a7b5d2f8c4e6a1b3d5f7091"
VIDEO_LINKS = {
    "self": f"/v1/videos/{VIDEO_ID}",
    "content": f"/v1/videos/{VIDEO_ID}/content",
    "poster": f"/v1/videos/{VIDEO_ID}/poster",
    "frames": f"/v1/videos/{VIDEO_ID}/frames",
}
FILE = {
    "videoId": VIDEO_ID,
    "fileName": "harbour.mp4",
    "mimeType": "video/mp4",
    "sizeBytes": 52428800,
    "uploadedAt": AT,
}
VIDEO = {
    **FILE,
    "status": "completed",
    "tags": ["sea"],
    "metadata": {"camera": "X100"},
    "updatedAt": "2026-11-20T10:31:00Z",
    "completedAt": "2026-11-20T10:31:00Z",
    "durationSeconds": 120.5,
    "width": 1920,
    "height": 1080,
    "fps": 30.0,
    "codec": "h264",
    "container": "mp4",
    "progress": {"segments": 1, "segmentsDone": 1, "frames": 31, "framesCompleted": 31, "framesFailed": 0},
    "links": VIDEO_LINKS,
}
FRAME = {
    "imageId": FRAME_ID,
    "offsetSeconds": 42.04,
    "status": "completed",
    "thumbnailUrl": f"/v1/images/{FRAME_ID}/thumbnails/small",
}


class VideoLinks(ApiModel):
    """Path-absolute references."""

    this: str = Field(alias="self")
    content: str
    poster: str
    frames: str


class AcceptedVideo(ApiModel):
    """An upload that will be processed; a repeat with the same Idempotency-Key gives the same answer."""

    model_config = example({**FILE, "status": "accepted", "links": VIDEO_LINKS})

    video_id: str
    status: Literal["accepted"] = "accepted"
    file_name: str
    mime_type: str
    size_bytes: int
    uploaded_at: AwareDatetime
    links: VideoLinks


class VideoProgress(ApiModel):
    """``segments`` is null until the video has been probed. ``frames`` counts the frames extracted so far."""

    segments: int | None = None
    segments_done: int
    frames: int
    frames_completed: int
    frames_failed: int


class VideoView(ApiModel):
    model_config = example(VIDEO)

    video_id: str
    status: VideoState
    file_name: str
    mime_type: str
    size_bytes: int
    tags: list[str]
    metadata: dict[str, Any]
    uploaded_at: AwareDatetime
    updated_at: AwareDatetime
    completed_at: AwareDatetime | None = None
    duration_seconds: float | None = None
    width: int | None = Field(default=None, description="pixels, upright and square")
    height: int | None = None
    fps: float | None = Field(default=None, description="frames per second on average")
    codec: str | None = None
    container: str | None = None
    progress: VideoProgress
    error: ImageError | None = None
    links: VideoLinks


class VideoPage(ApiModel):
    model_config = example({"videos": [VIDEO], "nextCursor": "eyJ2IjoxfQ"})

    videos: list[VideoView] = Field(description="newest first")
    next_cursor: str | None = Field(default=None, description="pass as ``cursor`` with the same filters")


class VideoListQuery(MediaListQuery):
    status: list[VideoState] = Field(default=[], max_length=4, description="repeatable; any of them")


class FrameView(ApiModel):
    model_config = example(FRAME)

    image_id: str = Field(description="also the id of an image, which no list of images contains")
    offset_seconds: float
    status: Status
    thumbnail_url: str


class FrameList(ApiModel):
    model_config = example({"frames": [FRAME]})

    frames: list[FrameView] = Field(description="by offset")


class DeletedVideo(ApiModel):
    """The video and its frames disappear from every answer at once; what was stored of them is removed shortly."""

    model_config = example({"videoId": VIDEO_ID, "status": "deleting"})

    video_id: str
    status: Literal["deleting"] = "deleting"


class MatchingFrame(ApiModel):
    """A frame of a video that a search found."""

    image_id: str
    offset_seconds: float
    score: float
    thumbnail_url: str


class VideoMatch(ApiModel):
    """The video of a result; the result itself is its best frame."""

    video_id: str
    offset_seconds: float = Field(description="of the best frame")
    frames: list[MatchingFrame] = Field(description="the best matching frames, best first")
    poster_url: str
