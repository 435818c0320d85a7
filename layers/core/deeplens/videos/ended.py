"""What follows when a frame, a segment or a failure was the end of its video."""

from collections.abc import Collection

from deeplens.common.event import Event
from deeplens.tenants.model import Tenant
from deeplens.usage.model import video_upload_event
from deeplens.videos.model import VideoRepository
from deeplens.videos.notifications import video_ended


def ends_of(videos: VideoRepository, tenant: Tenant, video_ids: Collection[str | None]) -> tuple[Event, ...]:
    """Events of those of the videos that have ended by now: their uploads are metered, webhooks and chats told.

    Whoever ends anything of a video asks after it did: the last of them finds that it has ended. Each of the events
    counts once, so that asking too often is harmless.
    """
    asked = sorted({video_id for video_id in video_ids if video_id})
    ended = videos.ended(tenant, asked) if asked else []
    return tuple(
        event
        for video in ended
        for event in (
            video_upload_event(tenant.id, video.id, video.size_bytes, video.uploaded_at),
            *video_ended(tenant, video),
        )
    )
