"""What tenants' webhooks are told, where one wants to know."""

from datetime import UTC, datetime

from deeplens.contracts.events import (
    DuplicateMatch,
    DuplicatesFound,
    Failure,
    ProcessingCompleted,
    TenantNotification,
    WhatsAppMessage,
)
from deeplens.domain import Tenant
from deeplens.pipeline.identity import event_id
from deeplens.videos import VideoRecord, is_video

IMAGE_COMPLETED, IMAGE_FAILED, DUPLICATES_FOUND = "image.completed", "image.failed", "duplicates.found"
VIDEO_COMPLETED, VIDEO_FAILED = "video.completed", "video.failed"
MESSAGE_RECEIVED = "whatsapp.message"


def image_completed(tenant: Tenant, event: ProcessingCompleted) -> tuple[TenantNotification, ...]:
    if IMAGE_COMPLETED not in tenant.notified:
        return ()
    details = {"processingTime": event.processing_time, "model": event.model, "modelVersion": event.model_version}
    told = TenantNotification(
        event_id=event_id(IMAGE_COMPLETED, tenant.id, event.image_id, event.effective_generation),
        tenant_id=tenant.id,
        type=IMAGE_COMPLETED,
        occurred_at=event.completed_at,
        image_id=event.image_id,
        details={name: value for name, value in details.items() if value is not None},
    )
    return (told,)


def image_failed(
    tenant: Tenant, image_id: str, generation: int, error: Failure, at: datetime
) -> tuple[TenantNotification, ...]:
    if IMAGE_FAILED not in tenant.notified:
        return ()
    details = {"error": {"code": error.code, "message": error.message, "retryable": error.retryable}}
    told = TenantNotification(
        event_id=event_id(IMAGE_FAILED, tenant.id, image_id, generation),
        tenant_id=tenant.id,
        type=IMAGE_FAILED,
        occurred_at=at,
        image_id=image_id,
        details=details,
    )
    return (told,)


def video_ended(tenant: Tenant, video: VideoRecord) -> tuple[TenantNotification, ...]:
    """Of a video that completed or failed, however often that is looked at: once for each."""
    completed = video.status == "completed"
    kind = VIDEO_COMPLETED if completed else VIDEO_FAILED
    if kind not in tenant.notified:
        return ()
    error = {"code": video.error_code, "message": video.error_message, "retryable": video.error_retryable}
    told = TenantNotification(
        event_id=event_id(kind, tenant.id, video.id),
        tenant_id=tenant.id,
        type=kind,
        occurred_at=video.completed_at or video.updated_at,
        video_id=video.id,
        details={"durationSeconds": video.duration_seconds, "frames": video.frames} if completed else {"error": error},
    )
    return (told,)


def message_received(tenant: Tenant, message: WhatsAppMessage, media_id: str | None) -> tuple[TenantNotification, ...]:
    """Of a message that a rule forwards; ``media_id`` is the image, or video, that it became."""
    if MESSAGE_RECEIVED not in tenant.notified:
        return ()
    about = {name: message.metadata.get(name) for name in ("sender", "senderName", "isGroup")}
    details = {
        "messageId": message.message_id,
        "chatJid": message.chat_jid,
        "messageType": message.message_type,
        "content": message.content,
        **about,
    }
    return (
        TenantNotification(
            tenant_id=tenant.id,
            type=MESSAGE_RECEIVED,
            occurred_at=datetime.fromtimestamp(message.timestamp, UTC),
            **about_media(media_id),
            details={name: value for name, value in details.items() if value is not None},
        ),
    )


def duplicates_found(
    tenant: Tenant, event: DuplicatesFound, match: DuplicateMatch, group_id: str
) -> tuple[TenantNotification, ...]:
    """Once per pair, whichever record leads to it."""
    if DUPLICATES_FOUND not in tenant.notified:
        return ()
    details = {
        "duplicateId": group_id,
        "pairId": match.pair_id,
        "imageIds": [match.image_id, event.image_id],
        "verdict": match.verdict,
        "score": match.score,
    }
    told = TenantNotification(
        event_id=event_id(DUPLICATES_FOUND, tenant.id, match.pair_id),
        tenant_id=tenant.id,
        type=DUPLICATES_FOUND,
        occurred_at=event.found_at,
        image_id=event.image_id,
        details=details,
    )
    return (told,)


def about_media(media_id: str | None) -> dict[str, str]:
    """What an event about an image, or about a video, is given."""
    if media_id is None:
        return {}
    return {"video_id" if is_video(media_id) else "image_id": media_id}
