"""The events that follow once a video has ended."""

from collections.abc import Collection

from deeplens.common.event import Event
from deeplens.tenants.model import Tenant
from deeplens.usage.model import video_upload_event
from deeplens.videos.model import VideoRepository
from deeplens.videos.notifications import video_ended


def events_of_ended_videos(
    videos: VideoRepository, tenant: Tenant, video_ids: Collection[str | None]
) -> tuple[Event, ...]:
    """Return usage events and notifications of those videos that have completed or failed by now.

    Call it after each change that may end a video: after the last one it finds the video ended. The event ids are
    stable, so calling it too often is harmless.
    """
    wanted = sorted({video_id for video_id in video_ids if video_id})
    ended = videos.ended(tenant, wanted) if wanted else []
    return tuple(
        event
        for video in ended
        for event in (
            video_upload_event(tenant.id, video.id, video.size_bytes, video.uploaded_at),
            *video_ended(tenant, video),
        )
    )
