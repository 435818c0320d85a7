"""Deleting a video."""

from dataclasses import dataclass

from deeplens.common.ports import Clock
from deeplens.events.ids import follow_up_id
from deeplens.events.maintenance import ImageMaintenance
from deeplens.http.problems import video_not_found
from deeplens.tenants.model import Tenant
from deeplens.videos.model import VideoRepository
from deeplens.videos.requests import video_deletion


@dataclass(frozen=True, slots=True)
class DeleteVideo:
    """Mark a video and its frames as deleted, and return the event that has them removed. Safe to repeat."""

    videos: VideoRepository
    clock: Clock

    def __call__(self, tenant: Tenant, video_id: str) -> ImageMaintenance:
        now = self.clock.now()
        if not self.videos.mark_deleted(tenant, video_id, now):
            raise video_not_found(video_id)
        event = video_deletion(tenant.id, video_id, now)
        return event.model_copy(update={"event_id": follow_up_id("delete", video_id, 0)})
