"""Webhooks in dictionaries, held to the promises of PostgreSQL by ``tests/integration``; endpoints that note."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from deeplens.events.notifications import TenantNotification
from deeplens.webhooks.model import Answer, Delivery, Verdict, Webhook, body_of, delivery_id

from tests.fakes.db import FakeDirectory


class RecordingSender:
    """``WebhookSender``; ``answers`` by URL, 200 otherwise."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: dict[str, Answer] = {}

    def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.sent.append((url, dict(headers), body))
        return self.answers.get(url, Answer(200))


class FakeWebhooks:
    """``Webhooks`` beside the tenants of a ``FakeDirectory``, if there is one."""

    def __init__(self, tenants: FakeDirectory | None = None) -> None:
        self._tenants, self._lock = tenants, threading.RLock()
        self.hooks: dict[str, Webhook] = {}
        self.kept: dict[str, Delivery] = {}

    def of_tenant(self, tenant_id: str) -> list[Webhook]:
        return sorted((hook for hook in self.hooks.values() if hook.tenant_id == tenant_id), key=lambda hook: hook.id)

    def find(self, tenant_id: str, webhook_id: str) -> Webhook | None:
        hook = self.hooks.get(webhook_id)
        return hook if hook and hook.tenant_id == tenant_id else None

    def save(self, webhook: Webhook) -> None:
        self.hooks[webhook.id] = webhook
        self._note(webhook.tenant_id)

    def remove(self, tenant_id: str, webhook_id: str) -> bool:
        if self.find(tenant_id, webhook_id) is None:
            return False
        del self.hooks[webhook_id]
        self.kept = {id_: delivery for id_, delivery in self.kept.items() if delivery.webhook_id != webhook_id}
        self._note(tenant_id)
        return True

    def record(self, notifications: Sequence[TenantNotification], now: datetime) -> list[str]:
        made = []
        for notification in notifications:
            for hook in self.of_tenant(notification.tenant_id):
                if hook.enabled and notification.type in hook.events:
                    id_, due = delivery_id(hook.id, notification.event_id), max(now, hook.paused_until or now)
                    self.add(
                        Delivery(
                            id_,
                            hook.id,
                            notification.tenant_id,
                            notification.event_id,
                            notification.type,
                            body_of(notification),
                            now,
                            due,
                        )
                    )
                    made.append(id_)
        return made

    def add(self, delivery: Delivery) -> None:
        self.kept.setdefault(delivery.id, delivery)

    def claim(self, delivery_ids: Sequence[str], now: datetime, until: datetime) -> list[tuple[Webhook, Delivery]]:
        with self._lock:
            deliveries = [self.kept[id_] for id_ in dict.fromkeys(delivery_ids) if id_ in self.kept]
            due = [delivery for delivery in deliveries if delivery.state == "waiting" and delivery.next_at <= now]
            due = [replace(delivery, next_at=until) for delivery in due if self.hooks[delivery.webhook_id].enabled]
            self.kept.update((delivery.id, delivery) for delivery in due)
            return [(self.hooks[delivery.webhook_id], delivery) for delivery in due]

    def settle(self, delivery: Delivery, verdict: Verdict, answer: Answer, now: datetime) -> None:
        with self._lock:
            known, hook = self.kept[delivery.id], self.hooks[delivery.webhook_id]
            delivered = verdict.state == "delivered"
            if delivered:
                hook = replace(hook, failures=0, failing_since=None, paused_until=None)
            else:
                hook = self._failed(hook, verdict, now)
            self.save(hook)
            self.kept[delivery.id] = replace(
                known,
                state=verdict.state,
                attempts=known.attempts + 1,
                next_at=verdict.next_at or known.next_at,
                last_status=answer.status,
                last_error=answer.error,
                delivered_at=now if delivered else None,
            )

    def _failed(self, hook: Webhook, verdict: Verdict, now: datetime) -> Webhook:
        waiting = [
            delivery
            for delivery in self.kept.values()
            if delivery.webhook_id == hook.id and delivery.state == "waiting"
        ]
        for delivery in waiting:
            if verdict.disable:
                self.kept[delivery.id] = replace(delivery, state="failed")
            elif verdict.paused_until:
                self.kept[delivery.id] = replace(delivery, next_at=max(delivery.next_at, verdict.paused_until))
        return replace(
            hook,
            failures=hook.failures + 1,
            failing_since=hook.failing_since or now,
            paused_until=verdict.paused_until,
            enabled=hook.enabled and verdict.disable is None,
            disabled_reason=verdict.disable or hook.disabled_reason,
        )

    def release(self, delivery_ids: Sequence[str], next_at: datetime) -> None:
        with self._lock:
            for id_ in delivery_ids:
                if self.kept[id_].state == "waiting":
                    self.kept[id_] = replace(self.kept[id_], next_at=next_at)

    def overdue(self, now: datetime, limit: int) -> list[Delivery]:
        due = [delivery for delivery in self.kept.values() if delivery.state == "waiting" and delivery.next_at <= now]
        return sorted(due, key=lambda delivery: delivery.next_at)[:limit]

    def deliveries(self, tenant_id: str, webhook_id: str, limit: int) -> list[Delivery]:
        mine = [
            delivery
            for delivery in self.kept.values()
            if (delivery.tenant_id, delivery.webhook_id) == (tenant_id, webhook_id)
        ]
        return sorted(mine, key=lambda created: created.created_at, reverse=True)[:limit]

    def redeliver(self, tenant_id: str, webhook_id: str, delivery_id: str, now: datetime) -> Delivery | None:
        delivery = self.kept.get(delivery_id)
        if delivery is None or (delivery.tenant_id, delivery.webhook_id) != (tenant_id, webhook_id):
            return None
        self.kept[delivery_id] = replace(delivery, state="waiting", attempts=0, next_at=now, delivered_at=None)
        return self.kept[delivery_id]

    def forget(self, before: datetime, limit: int) -> int:
        old = [
            delivery.id
            for delivery in self.kept.values()
            if delivery.state != "waiting" and delivery.created_at < before
        ][:limit]
        for id_ in old:
            del self.kept[id_]
        return len(old)

    def _note(self, tenant_id: str) -> None:
        if self._tenants is not None:
            types = {type for hook in self.of_tenant(tenant_id) if hook.enabled for type in hook.events}
            self._tenants.add(replace(self._tenants.get(tenant_id), notified=frozenset(types)))
