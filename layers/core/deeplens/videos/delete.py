"""Deleting a video."""

from deeplens.common.ports import Clock, EventPublisher
from deeplens.common.publish import publish
from deeplens.events.ids import follow_up_id
from deeplens.http.problems import video_not_found
from deeplens.tenants.model import Tenant
from deeplens.videos.model import VideoRepository
from deeplens.videos.requests import video_deletion


class DeleteVideo:
    """Bury a video with its frames and ask for their removal. A repeat asks again."""

    def __init__(self, videos: VideoRepository, publisher: EventPublisher, clock: Clock) -> None:
        self._videos, self._publisher, self._clock = videos, publisher, clock

    def __call__(self, tenant: Tenant, video_id: str, traceparent: str | None) -> None:
        now = self._clock.now()
        if not self._videos.bury(tenant, video_id, now):
            raise video_not_found(video_id)
        event = video_deletion(tenant.id, video_id, now)
        publish(self._publisher, event, follow_up_id("delete", video_id, 0), traceparent)
