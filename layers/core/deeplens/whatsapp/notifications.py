"""Notifications about messages."""

from datetime import UTC, datetime

from deeplens.events.notifications import MESSAGE_RECEIVED, TenantNotification
from deeplens.events.whatsapp import WhatsAppMessage
from deeplens.tenants.model import Tenant
from deeplens.videos.notifications import about_media


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
