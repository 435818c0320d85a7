"""deeplens.tenant.notifications → deliveries, signed and sent to tenants' webhooks; replies to chats; retries"""

import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from deeplens.common.groups import grouped
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Outcome, in_parallel
from deeplens.events.notifications import (
    IMAGE_COMPLETED,
    IMAGE_FAILED,
    VIDEO_COMPLETED,
    VIDEO_FAILED,
    TenantNotification,
)
from deeplens.telemetry import tracing
from deeplens.telemetry.instruments import WEBHOOK_DELAY, WEBHOOK_DELIVERIES
from deeplens.telemetry.metrics import record
from deeplens.webhooks.model import Delivery, Verdict, Webhook, Webhooks, WebhookSender, WebhookSigner, judge
from deeplens.whatsapp.chats import ImageEnd, Replies, Reply, send_request

LEASE = timedelta(minutes=6)
"""Longer than the function may run: a delivery that is claimed and not settled by then is claimed again."""
SECONDS_PER_WEBHOOK = 15.0
"""Of one batch. The rest is sent by a later one, so that a slow endpoint delays the others at most that long."""
RETENTION = timedelta(days=30)
ENDS = (IMAGE_COMPLETED, IMAGE_FAILED, VIDEO_COMPLETED, VIDEO_FAILED)

type Claimed = tuple[Webhook, Delivery]


@dataclass(frozen=True, slots=True)
class Notify:
    """Record a delivery per webhook that wants the notification, and send it.

    Consumes ``TenantNotification``, emits a ``WhatsAppMessage`` per reply to a chat that waited for an image's end. A
    delivery is recorded once per event before anything is sent, so an event that comes twice sends nothing twice. The
    first failure ends a webhook's part of the batch: the schedule sends what waits behind it.
    """

    name: ClassVar = "notify"
    consumes: ClassVar = TenantNotification

    webhooks: Webhooks
    sender: WebhookSender
    signer: WebhookSigner
    replies: Replies
    workers: Executor
    clock: Clock

    def __call__(self, batch: Sequence[TenantNotification]) -> list[Outcome]:
        now = self.clock.now()
        requested = [event.delivery_id for event in batch if event.delivery_id]
        recorded = self.webhooks.record([event for event in batch if not event.delivery_id], now)
        claimed = self.webhooks.claim([*requested, *recorded], now, now + LEASE)
        ordered = sorted(claimed, key=lambda pair: (pair[1].created_at, pair[1].id))
        in_parallel(self.workers, self._deliver, grouped(ordered, lambda pair: pair[0].id).values())
        ready = self.replies.end([end for event in batch if (end := _end(event))], now)
        by_image = {(reply.tenant_id, reply.image_id): reply for reply in ready}
        return [self._done(by_image.get((event.tenant_id, event.image_id or event.video_id))) for event in batch]

    def _done(self, reply: Reply | None) -> Done:
        return Done((send_request(reply.id, reply.chat_jid, reply.text, self.clock.now()),)) if reply else Done()

    def _deliver(self, group: Sequence[Claimed]) -> None:
        """Send a webhook's deliveries in turn, until one fails or the time is up."""
        deadline = time.monotonic() + SECONDS_PER_WEBHOOK
        for position, (webhook, delivery) in enumerate(group, start=1):
            with tracing.about(delivery):
                verdict = self._send(webhook, delivery)
            left = [other.id for _, other in group[position:]]
            if verdict.state != "delivered" or time.monotonic() > deadline:
                self.webhooks.release(left, verdict.paused_until or self.clock.now())
                return

    def _send(self, webhook: Webhook, delivery: Delivery) -> Verdict:
        headers = self.signer.headers(webhook, delivery, self.clock.now())
        answer = self.sender.send(webhook.url, {**headers, "content-type": "application/json"}, delivery.body.encode())
        now = self.clock.now()
        verdict = judge(webhook, delivery.attempts + 1, answer, now)
        self.webhooks.settle(delivery, verdict, answer, now)
        if verdict.state == "delivered":
            record(WEBHOOK_DELAY, max(0.0, (now - delivery.created_at).total_seconds()))
        record(WEBHOOK_DELIVERIES, outcome="retrying" if verdict.state == "waiting" else verdict.state)
        return verdict


class TickWebhooks:
    """Have due deliveries sent: one query over all tenants, one event each. Deletes old ones."""

    name: ClassVar = "webhooks"
    batch_size: ClassVar = 500
    forgotten_at_once: ClassVar = 5000

    def __init__(self, webhooks: Webhooks, clock: Clock) -> None:
        self._webhooks, self._clock = webhooks, clock

    def __call__(self) -> list[TenantNotification]:
        now = self._clock.now()
        self._webhooks.forget(now - RETENTION, self.forgotten_at_once)
        return [delivery_request(delivery) for delivery in self._webhooks.overdue(now, self.batch_size)]


def delivery_request(delivery: Delivery) -> TenantNotification:
    """The event that requests an attempt of a delivery."""
    return TenantNotification(
        tenant_id=delivery.tenant_id,
        type=delivery.type,
        occurred_at=delivery.created_at,
        delivery_id=delivery.id,
    )


def _end(event: TenantNotification) -> ImageEnd | None:
    """The end of an image or video, if the notification is about one."""
    media_id = event.image_id or event.video_id
    if event.delivery_id or not media_id or event.type not in ENDS:
        return None
    error = event.details.get("error")
    reason = str(error.get("message", "")) if isinstance(error, dict) else ""
    completed = event.type in (IMAGE_COMPLETED, VIDEO_COMPLETED)
    return ImageEnd(event.tenant_id, media_id, None if completed else reason or "it failed")
