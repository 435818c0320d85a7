"""A tenant's live image or video, or the one answer to all others: unknown, deleted, or of another tenant."""

from typing import Any

from deeplens.api.problems import image_not_found, video_not_found
from deeplens.domain import ImageRecord, Tenant, Tombstone
from deeplens.errors import ImageMerged
from deeplens.ports import ImageRepository
from deeplens.videos import VideoRecord, VideoRepository

MERGED: dict[int | str, dict[str, Any]] = {301: {"description": "Merged into another image; follow Location"}}
MERGED_CHANGE: dict[int | str, dict[str, Any]] = {308: {"description": "Merged into another image; repeat at Location"}}


def answering_image(images: ImageRepository, tenant: Tenant, image_id: str) -> ImageRecord:
    """The image, or the one that it was merged into. 404 for all others."""
    try:
        return live_image(images, tenant, image_id)
    except ImageMerged as merged:
        return answering_image(images, tenant, merged.into)


def live_image(images: ImageRepository, tenant: Tenant, image_id: str) -> ImageRecord:
    """The image. ``ImageMerged`` where another one answers for it, 404 for all others."""
    found = images.find(tenant, [image_id]).get(image_id)
    if isinstance(found, Tombstone) and found.merged_into:
        raise ImageMerged(image_id, found.merged_into)
    if not isinstance(found, ImageRecord):
        raise image_not_found(image_id)
    return found


def live_video(videos: VideoRepository, tenant: Tenant, video_id: str) -> VideoRecord:
    found = videos.find(tenant, video_id)
    if not isinstance(found, VideoRecord):
        raise video_not_found(video_id)
    return found
