"""Replies that are ready → their chats; and every minute, those that are due → whatsapp-ready-messages"""

import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from deeplens.common.groups import grouped
from deeplens.common.ports import Clock
from deeplens.common.stage import in_parallel
from deeplens.errors import TenantNotFound
from deeplens.events.whatsapp import WhatsAppMessage
from deeplens.images.model import ImageRecord, Step, is_video
from deeplens.images.ports import ImageRepository
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory
from deeplens.videos.model import VideoRecord, VideoRepository
from deeplens.whatsapp.answers import DELETED
from deeplens.whatsapp.chats import Chats, ImageEnd, Replies, Reply, Verdict, WhatsApp, judge, next_check, send_request

LEASE = timedelta(minutes=6)
"""Longer than the function may run: a reply that is claimed and not settled by then is claimed again."""
SECONDS_PER_CHAT = 30.0
RETENTION = timedelta(days=30)
"""Longer than WhatsApp repeats a webhook."""


@dataclass(frozen=True, slots=True)
class DeliverReplies:
    """Send replies that are due, each chat's in turn; a failure puts off those behind it.

    A reply is claimed before it is sent, so that an event that comes twice sends nothing twice. A process that dies in
    between sends once more when the lease has ended.
    """

    replies: Replies
    whatsapp: WhatsApp
    tenants: TenantDirectory
    images: ImageRepository
    videos: VideoRepository
    workers: Executor
    clock: Clock

    def __call__(self, reply_ids: Sequence[str]) -> None:
        """Raises ``DependencyUnavailable``. Ids that are unknown, sent, or not due are passed over."""
        if not reply_ids:
            return
        for reply in self.replies.awaiting(reply_ids):
            self._check(reply)
        now = self.clock.now()
        claimed = self.replies.claim(reply_ids, now, now + LEASE)
        ordered = sorted(claimed, key=lambda reply: (reply.created_at, reply.id))
        in_parallel(self.workers, self._send_all, grouped(ordered, lambda reply: reply.chat_jid).values())

    def _check(self, reply: Reply) -> None:
        """Check whether an image or video has ended: no notification may have come."""
        image_id, now = reply.image_id or "", self.clock.now()
        try:
            end = self._end(self.tenants.get(reply.tenant_id), image_id)
        except TenantNotFound:
            end = ImageEnd(reply.tenant_id, image_id, DELETED)
        if end is None:
            self.replies.put_off([reply.id], next_check(reply.created_at, now))
        else:
            self.replies.end([end], now)

    def _end(self, tenant: Tenant, media_id: str) -> ImageEnd | None:
        """How an image or video has ended; None while it is in progress."""
        images, videos = self.images, self.videos
        row = videos.find(tenant, media_id) if is_video(media_id) else images.find(tenant, [media_id]).get(media_id)
        if not isinstance(row, ImageRecord | VideoRecord):
            return ImageEnd(tenant.id, media_id, DELETED)
        state = row.step if isinstance(row, ImageRecord) else row.status
        if state in (Step.COMPLETED, "completed"):
            return ImageEnd(tenant.id, media_id)
        if state in (Step.FAILED, "failed"):
            return ImageEnd(tenant.id, media_id, row.error_message or row.error_code or "it failed")
        return None

    def _send_all(self, replies: Sequence[Reply]) -> None:
        """Send a chat's replies in turn, until one is put off or the time is up."""
        deadline = time.monotonic() + SECONDS_PER_CHAT
        for position, reply in enumerate(replies, start=1):
            verdict = self._send(reply)
            if verdict.state == "waiting" or time.monotonic() > deadline:
                left = [other.id for other in replies[position:]]
                self.replies.put_off(left, verdict.next_at or self.clock.now())
                return

    def _send(self, reply: Reply) -> Verdict:
        sent = self.whatsapp.send(reply.phone_number_id, reply.chat_jid, reply.text or "", reply.message_id)
        now = self.clock.now()
        verdict = judge(reply.attempts + 1, sent, now)
        self.replies.settle(reply, verdict, now)
        return verdict


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
