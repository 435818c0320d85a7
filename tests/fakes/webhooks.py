"""Webhooks in dictionaries, held to the promises of PostgreSQL by ``tests/integration/db``; endpoints that note."""

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
        return sorted((one for one in self.hooks.values() if one.tenant_id == tenant_id), key=lambda one: one.id)

    def find(self, tenant_id: str, webhook_id: str) -> Webhook | None:
        found = self.hooks.get(webhook_id)
        return found if found and found.tenant_id == tenant_id else None

    def save(self, webhook: Webhook) -> None:
        self.hooks[webhook.id] = webhook
        self._note(webhook.tenant_id)

    def remove(self, tenant_id: str, webhook_id: str) -> bool:
        if self.find(tenant_id, webhook_id) is None:
            return False
        del self.hooks[webhook_id]
        self.kept = {id_: one for id_, one in self.kept.items() if one.webhook_id != webhook_id}
        self._note(tenant_id)
        return True

    def record(self, notifications: Sequence[TenantNotification], now: datetime) -> list[str]:
        made = []
        for one in notifications:
            for hook in self.of_tenant(one.tenant_id):
                if hook.enabled and one.type in hook.events:
                    id_, due = delivery_id(hook.id, one.event_id), max(now, hook.paused_until or now)
                    self.add(Delivery(id_, hook.id, one.tenant_id, one.event_id, one.type, body_of(one), now, due))
                    made.append(id_)
        return made

    def add(self, delivery: Delivery) -> None:
        self.kept.setdefault(delivery.id, delivery)

    def claim(self, delivery_ids: Sequence[str], now: datetime, until: datetime) -> list[tuple[Webhook, Delivery]]:
        with self._lock:
            found = [self.kept[id_] for id_ in dict.fromkeys(delivery_ids) if id_ in self.kept]
            due = [one for one in found if one.state == "waiting" and one.next_at <= now]
            due = [replace(one, next_at=until) for one in due if self.hooks[one.webhook_id].enabled]
            self.kept.update((one.id, one) for one in due)
            return [(self.hooks[one.webhook_id], one) for one in due]

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
        waiting = [one for one in self.kept.values() if one.webhook_id == hook.id and one.state == "waiting"]
        for one in waiting:
            if verdict.disable:
                self.kept[one.id] = replace(one, state="failed")
            elif verdict.paused_until:
                self.kept[one.id] = replace(one, next_at=max(one.next_at, verdict.paused_until))
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
        due = [one for one in self.kept.values() if one.state == "waiting" and one.next_at <= now]
        return sorted(due, key=lambda one: one.next_at)[:limit]

    def deliveries(self, tenant_id: str, webhook_id: str, limit: int) -> list[Delivery]:
        mine = [one for one in self.kept.values() if (one.tenant_id, one.webhook_id) == (tenant_id, webhook_id)]
        return sorted(mine, key=lambda one: one.created_at, reverse=True)[:limit]

    def redeliver(self, tenant_id: str, webhook_id: str, delivery_id: str, now: datetime) -> Delivery | None:
        found = self.kept.get(delivery_id)
        if found is None or (found.tenant_id, found.webhook_id) != (tenant_id, webhook_id):
            return None
        self.kept[delivery_id] = replace(found, state="waiting", attempts=0, next_at=now, delivered_at=None)
        return self.kept[delivery_id]

    def forget(self, before: datetime, limit: int) -> int:
        old = [one.id for one in self.kept.values() if one.state != "waiting" and one.created_at < before][:limit]
        for id_ in old:
            del self.kept[id_]
        return len(old)

    def _note(self, tenant_id: str) -> None:
        if self._tenants is not None:
            types = {type for one in self.of_tenant(tenant_id) if one.enabled for type in one.events}
            self._tenants.add(replace(self._tenants.get(tenant_id), notified=frozenset(types)))
