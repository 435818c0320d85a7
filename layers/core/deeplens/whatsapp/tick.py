"""every minute → replies to chats that are due → whatsapp-ready-messages"""

from datetime import timedelta
from typing import ClassVar

from deeplens.common.ports import Clock
from deeplens.events.whatsapp import WhatsAppMessage
from deeplens.whatsapp.chats import Chats, Replies, send_request

RETENTION = timedelta(days=30)
"""Longer than WhatsApp repeats a webhook."""


class TickWhatsApp:
    """Have due replies sent, or their images checked: one query over all tenants. Deletes old messages."""

    name: ClassVar = "whatsapp"
    batch_size: ClassVar = 500
    forgotten_at_once: ClassVar = 5000

    def __init__(self, chats: Chats, replies: Replies, clock: Clock) -> None:
        self._chats, self._replies, self._clock = chats, replies, clock

    def __call__(self) -> list[WhatsAppMessage]:
        now = self._clock.now()
        self._chats.forget(now - RETENTION, self.forgotten_at_once)
        due = self._replies.overdue(now, self.batch_size)
        return [send_request(reply.id, reply.chat_jid, None, now) for reply in due]
