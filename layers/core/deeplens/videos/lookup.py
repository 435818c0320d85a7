"""Looking up a video."""

from deeplens.http.problems import video_not_found
from deeplens.tenants.model import Tenant
from deeplens.videos.model import VideoRecord, VideoRepository


def live_video(videos: VideoRepository, tenant: Tenant, video_id: str) -> VideoRecord:
    found = videos.find(tenant, video_id)
    if not isinstance(found, VideoRecord):
        raise video_not_found(video_id)
    return found
