"""Notifications about videos."""

from deeplens.common.ids import event_id
from deeplens.events.notifications import VIDEO_COMPLETED, VIDEO_FAILED, TenantNotification
from deeplens.tenants.model import Tenant
from deeplens.videos.model import VideoRecord, is_video


def video_ended(tenant: Tenant, video: VideoRecord) -> tuple[TenantNotification, ...]:
    """The notification of a video that completed or failed; a repeat has the same event id."""
    completed = video.status == "completed"
    kind = VIDEO_COMPLETED if completed else VIDEO_FAILED
    if kind not in tenant.notified:
        return ()
    error = {"code": video.error_code, "message": video.error_message, "retryable": video.error_retryable}
    notification = TenantNotification(
        event_id=event_id(kind, tenant.id, video.id),
        tenant_id=tenant.id,
        type=kind,
        occurred_at=video.completed_at or video.updated_at,
        video_id=video.id,
        details={"durationSeconds": video.duration_seconds, "frames": video.frames} if completed else {"error": error},
    )
    return (notification,)


def about_media(media_id: str | None) -> dict[str, str]:
    """The id of an image or a video, under the name of its field in an event."""
    if media_id is None:
        return {}
    return {"video_id" if is_video(media_id) else "image_id": media_id}
