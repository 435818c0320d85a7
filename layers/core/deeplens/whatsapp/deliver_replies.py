"""Replies that are ready → their chats."""

import time
from collections.abc import Sequence
from concurrent.futures import Executor
from datetime import timedelta
from itertools import groupby

from deeplens.common.batch import in_parallel
from deeplens.common.ports import Clock
from deeplens.errors import TenantNotFound
from deeplens.images.model import ImageRecord, Step, Tombstone
from deeplens.images.ports import ImageRepository
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory
from deeplens.videos.model import VideoRecord, VideoRepository, VideoTombstone, is_video
from deeplens.whatsapp.answers import DELETED
from deeplens.whatsapp.chats import ImageEnd, Replies, Reply
from deeplens.whatsapp.delivery import Verdict, WhatsApp, judge, next_look

LEASE = timedelta(minutes=6)
"""Longer than the function may run: what it claimed and did not settle by then was lost with it."""
SECONDS_PER_CHAT = 30.0


class DeliverReplies:
    """Send replies that are due, each chat's in turn; a failure puts off what waits behind it.

    A reply is claimed before it is sent, so that an event that comes twice sends nothing twice. A process that dies in
    between sends once more when the lease has ended.
    """

    def __init__(
        self,
        replies: Replies,
        whatsapp: WhatsApp,
        tenants: TenantDirectory,
        images: ImageRepository,
        videos: VideoRepository,
        workers: Executor,
        clock: Clock,
    ) -> None:
        self._replies, self._whatsapp, self._tenants, self._images = replies, whatsapp, tenants, images
        self._videos, self._workers, self._clock = videos, workers, clock

    def __call__(self, reply_ids: Sequence[str]) -> None:
        """Raises ``DependencyUnavailable``. Ids that are unknown, sent, or not due are passed over."""
        if not reply_ids:
            return
        for reply in self._replies.awaiting(reply_ids):
            self._look(reply)
        now = self._clock.now()
        claimed = self._replies.claim(reply_ids, now, now + LEASE)
        ordered = sorted(claimed, key=lambda reply: (reply.chat_jid, reply.created_at, reply.id))
        chats = [list(group) for _, group in groupby(ordered, key=lambda reply: reply.chat_jid)]
        in_parallel(self._workers, self._send_all, chats)

    def _look(self, reply: Reply) -> None:
        """Check whether an image or video has ended: its notification may be lost, or none was wanted."""
        image_id, now = reply.image_id or "", self._clock.now()
        try:
            end = self._end(self._tenants.get(reply.tenant_id), image_id)
        except TenantNotFound:
            end = ImageEnd(reply.tenant_id, image_id, DELETED)
        if end is None:
            self._replies.put_off([reply.id], next_look(reply.created_at, now))
        else:
            self._replies.end([end], now)

    def _end(self, tenant: Tenant, media_id: str) -> ImageEnd | None:
        if is_video(media_id):
            return end_of_video(tenant.id, media_id, self._videos.find(tenant, media_id))
        return end_of(tenant.id, media_id, self._images.find(tenant, [media_id]).get(media_id))

    def _send_all(self, replies: Sequence[Reply]) -> None:
        deadline = time.monotonic() + SECONDS_PER_CHAT
        for position, reply in enumerate(replies):
            verdict = self._send(reply)
            if verdict.state == "waiting" or time.monotonic() > deadline:
                left = [other.id for other in replies[position + 1 :]]
                self._replies.put_off(left, verdict.next_at or self._clock.now())
                return

    def _send(self, reply: Reply) -> Verdict:
        sent = self._whatsapp.send(reply.phone_number_id, reply.chat_jid, reply.text or "", reply.message_id)
        now = self._clock.now()
        verdict = judge(reply.attempts + 1, sent, now)
        self._replies.settle(reply, verdict, now)
        return verdict


def end_of(tenant_id: str, image_id: str, row: ImageRecord | Tombstone | None) -> ImageEnd | None:
    """How an image has ended; None while it is in work."""
    if not isinstance(row, ImageRecord):
        return ImageEnd(tenant_id, image_id, DELETED)
    if row.step is Step.COMPLETED:
        return ImageEnd(tenant_id, image_id)
    if row.step is Step.FAILED:
        return ImageEnd(tenant_id, image_id, row.error_message or row.error_code or "it failed")
    return None


def end_of_video(tenant_id: str, video_id: str, row: VideoRecord | VideoTombstone | None) -> ImageEnd | None:
    """The same of a video."""
    if not isinstance(row, VideoRecord):
        return ImageEnd(tenant_id, video_id, DELETED)
    if row.status == "completed":
        return ImageEnd(tenant_id, video_id)
    if row.status == "failed":
        return ImageEnd(tenant_id, video_id, row.error_message or row.error_code or "it failed")
    return None
