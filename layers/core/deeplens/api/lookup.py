"""A tenant's live image or video, or the one answer to all others: unknown, deleted, or of another tenant."""

from deeplens.api.problems import image_not_found, video_not_found
from deeplens.domain import ImageRecord, Tenant
from deeplens.ports import ImageRepository
from deeplens.videos import VideoRecord, VideoRepository


def live_image(images: ImageRepository, tenant: Tenant, image_id: str) -> ImageRecord:
    found = images.find(tenant, [image_id]).get(image_id)
    if not isinstance(found, ImageRecord):
        raise image_not_found(image_id)
    return found


def live_video(videos: VideoRepository, tenant: Tenant, video_id: str) -> VideoRecord:
    found = videos.find(tenant, video_id)
    if not isinstance(found, VideoRecord):
        raise video_not_found(video_id)
    return found
