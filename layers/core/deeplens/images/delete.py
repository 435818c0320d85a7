"""Deleting an image or a video: a tombstone now, the rest through ``deeplens.images.maintenance``."""

from datetime import datetime
from typing import Protocol

from deeplens.events.ids import with_follow_up_id
from deeplens.events.maintenance import ImageMaintenance
from deeplens.http.problems import image_not_found, video_not_found
from deeplens.images.model import is_video
from deeplens.images.requests import deletion_request
from deeplens.tenants.model import Tenant


class Deletable(Protocol):
    """The images or the videos of tenants."""

    def mark_deleted(self, tenant: Tenant, media_id: str, at: datetime, /) -> bool: ...


def delete(media: Deletable, tenant: Tenant, media_id: str, now: datetime) -> ImageMaintenance:
    """Mark an image or a video as deleted, and return the event that requests its removal. Raises 404.

    A repeat requests it again, in case the event was lost.
    """
    if not media.mark_deleted(tenant, media_id, now):
        raise (video_not_found if is_video(media_id) else image_not_found)(media_id)
    return with_follow_up_id(deletion_request(tenant.id, media_id, now), "delete", media_id)
