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

IMAGE_COMPLETED, IMAGE_FAILED, DUPLICATES_FOUND = "image.completed", "image.failed", "duplicates.found"
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


def message_received(tenant: Tenant, message: WhatsAppMessage, image_id: str | None) -> tuple[TenantNotification, ...]:
    """Of a message that a rule forwards; ``image_id`` is the image that it became."""
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
            image_id=image_id,
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
