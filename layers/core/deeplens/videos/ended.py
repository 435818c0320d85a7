"""The events that follow once a video has ended."""

from collections.abc import Collection
from typing import Any

from deeplens.common.event import Event
from deeplens.events.notifications import VIDEO_COMPLETED, VIDEO_FAILED, TenantNotification
from deeplens.images.notifications import notification
from deeplens.tenants.model import Tenant
from deeplens.usage.model import upload_event
from deeplens.videos.model import VideoRecord, VideoRepository


def events_of_ended_videos(
    videos: VideoRepository, tenant: Tenant, video_ids: Collection[str | None]
) -> tuple[Event, ...]:
    """Return usage events and notifications of those videos that have completed or failed by now.

    Call it after each change that may end a video: after the last one it finds the video ended. The event ids are
    stable, so calling it too often is harmless.
    """
    ids = sorted({video_id for video_id in video_ids if video_id})
    ended = videos.ended(tenant, ids) if ids else []
    return tuple(
        event
        for video in ended
        for event in (
            upload_event(tenant.id, video),
            *_notification(tenant, video),
        )
    )


def _notification(tenant: Tenant, video: VideoRecord) -> tuple[TenantNotification, ...]:
    kind = VIDEO_COMPLETED if video.status == "completed" else VIDEO_FAILED
    details: dict[str, dict[str, Any]] = {
        VIDEO_COMPLETED: {"durationSeconds": video.duration_seconds, "frames": video.frames},
        VIDEO_FAILED: {
            "error": {"code": video.error_code, "message": video.error_message, "retryable": video.error_retryable}
        },
    }
    return notification(tenant, kind, (video.id,), video.completed_at or video.updated_at, video.id, details[kind])
