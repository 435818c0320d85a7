"""Notifications to tenants and their types."""

from typing import Any

from pydantic import AwareDatetime

from deeplens.common.event import ImageId, TenantEvent, VideoId


class TenantNotification(TenantEvent):
    """A notification for a tenant's webhooks. With ``delivery_id`` it asks for another attempt of that delivery."""

    type: str
    occurred_at: AwareDatetime
    image_id: ImageId | None = None
    video_id: VideoId | None = None
    details: dict[str, Any] = {}
    delivery_id: str | None = None


IMAGE_COMPLETED, IMAGE_FAILED, DUPLICATES_FOUND = "image.completed", "image.failed", "duplicates.found"
VIDEO_COMPLETED, VIDEO_FAILED = "video.completed", "video.failed"
MESSAGE_RECEIVED = "whatsapp.message"
