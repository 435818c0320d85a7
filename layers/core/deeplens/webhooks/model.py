"""Tenants' webhooks by the Standard Webhooks specification: messages, signatures, and when a delivery is retried."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Literal, Protocol

import standardwebhooks

from deeplens.errors import SecretStoreUnavailable
from deeplens.events.notifications import TenantNotification

DeliveryState = Literal["waiting", "delivered", "failed"]
RETRY_DELAYS = tuple(
    timedelta(minutes=minutes) for minutes in (1, 5, 30, 2 * 60, 5 * 60, 10 * 60, 14 * 60, 20 * 60, 24 * 60)
)
"""After each failure of a delivery; after the last one it has failed for good."""
MAX_PAUSE = timedelta(hours=1)
DISABLE_AFTER, DISABLE_AFTER_FAILURES = timedelta(days=3), 20
"""A webhook is disabled when it failed for so long and so often in a row."""
ROTATION_OVERLAP = timedelta(hours=24)
"""How long messages also carry the signature of the secret before a rotation."""
GONE = 410
MIN_KEY_CHARACTERS = 32


@dataclass(frozen=True, slots=True)
class Webhook:
    """An endpoint of a tenant.

    Attributes
    ----------
    secret_version : rises with every rotation; the previous version also signs until ``previous_until``.
    failing_since, failures : of the failures in a row; a success resets them.
    disabled_reason : why ``enabled`` is false, unless the tenant disabled it.
    """

    id: str
    tenant_id: str
    url: str
    events: tuple[str, ...]
    created_at: datetime
    enabled: bool = True
    disabled_reason: str | None = None
    secret_version: int = 1
    previous_until: datetime | None = None
    failing_since: datetime | None = None
    failures: int = 0
    paused_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message to one webhook. ``body`` never changes: every attempt sends the same bytes under the same id."""

    id: str
    webhook_id: str
    tenant_id: str
    event_id: str
    type: str
    body: str
    created_at: datetime
    next_at: datetime
    state: DeliveryState = "waiting"
    attempts: int = 0
    last_status: int | None = None
    last_error: str | None = None
    delivered_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An endpoint's answer: a status, or why there is none."""

    status: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from an answer, for the delivery and for its webhook.

    Attributes
    ----------
    next_at : when this delivery is retried; None when it has ended.
    paused_until : until when nothing is sent to the webhook.
    disable : why the webhook is disabled.
    """

    state: DeliveryState
    next_at: datetime | None = None
    paused_until: datetime | None = None
    disable: str | None = None


def judge(webhook: Webhook, attempts: int, answer: Answer, now: datetime) -> Verdict:
    """Decide what follows from the answer to attempt number ``attempts``; ``webhook`` is as it was before."""
    if answer.status is not None and 200 <= answer.status < 300:
        return Verdict("delivered")
    if answer.status == GONE:
        return Verdict("failed", disable="the endpoint answered 410 Gone")
    failures, since = webhook.failures + 1, webhook.failing_since or now
    if failures >= DISABLE_AFTER_FAILURES and now - since >= DISABLE_AFTER:
        return Verdict("failed", disable=f"{failures} failures in a row since {since:%F %R} UTC")
    paused_until = now + min(RETRY_DELAYS[0] * 2 ** min(failures - 1, 10), MAX_PAUSE)
    if attempts > len(RETRY_DELAYS):
        return Verdict("failed", paused_until=paused_until)
    return Verdict("waiting", max(now + RETRY_DELAYS[attempts - 1], paused_until), paused_until)


class WebhookSigner:
    """Secrets and signatures. A secret follows from the platform's key and is stored nowhere.

    Parameters
    ----------
    read_key : the platform's key, at least 32 characters; read when it is first needed.
    """

    def __init__(self, read_key: Callable[[], str]) -> None:
        self._read_key = read_key

    @cached_property
    def _key(self) -> bytes:
        key = self._read_key()
        if len(key) < MIN_KEY_CHARACTERS:
            raise SecretStoreUnavailable("WEBHOOK_KEY is not set, or shorter than 32 characters")
        return key.encode()

    def secret(self, webhook: Webhook) -> str:
        """The secret with which the tenant verifies messages."""
        return "whsec_" + base64.b64encode(self._secret(webhook.id, webhook.secret_version)).decode()

    def headers(self, webhook: Webhook, delivery: Delivery, now: datetime) -> dict[str, str]:
        """Id, time and signatures: by the newest secret, and during ``ROTATION_OVERLAP`` also by the previous one."""
        versions = [webhook.secret_version]
        if webhook.previous_until is not None and now < webhook.previous_until:
            versions.append(webhook.secret_version - 1)
        signers = [standardwebhooks.Webhook(self._secret(webhook.id, version)) for version in versions]
        return {
            "webhook-id": delivery.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signer.sign(delivery.id, now, delivery.body) for signer in signers),
        }

    def _secret(self, webhook_id: str, version: int) -> bytes:
        return hmac.digest(self._key, f"webhook/{webhook_id}/{version}".encode(), "sha256")


def delivery_id(webhook_id: str, event_id: str) -> str:
    """The same for the same event, so that an event that comes twice makes no second delivery."""
    return "whd_" + hashlib.sha256(f"{webhook_id}/{event_id}".encode()).hexdigest()[:32]


def body_of(notification: TenantNotification) -> str:
    """The message as JSON: its type, when it happened, and about what."""
    about = {"tenantId": notification.tenant_id, "imageId": notification.image_id, "videoId": notification.video_id}
    known = {name: value for name, value in about.items() if value is not None}
    stamp = notification.occurred_at.isoformat().replace("+00:00", "Z")
    return json.dumps({"type": notification.type, "timestamp": stamp, "data": known | notification.details})


class Webhooks(Protocol):
    """Webhooks and their deliveries, of all tenants (platform database). Raises ``DatabaseUnavailable``."""

    def of_tenant(self, tenant_id: str) -> list[Webhook]:
        """By id."""

    def find(self, tenant_id: str, webhook_id: str) -> Webhook | None: ...

    def save(self, webhook: Webhook) -> None:
        """Create or replace it; the tenant's row lists which notifications its webhooks want."""

    def remove(self, tenant_id: str, webhook_id: str) -> bool:
        """Remove it with its deliveries. False when there is none."""

    def record(self, notifications: Sequence[TenantNotification], now: datetime) -> list[str]:
        """Store a delivery per notification and webhook that wants it, once per event; returns the ids of all."""

    def add(self, delivery: Delivery) -> None:
        """Store a delivery; one that is there already stays as it is."""

    def claim(self, delivery_ids: Sequence[str], now: datetime, until: datetime) -> list[tuple[Webhook, Delivery]]:
        """Lease due deliveries of enabled webhooks until ``until``: no other caller gets them before."""

    def settle(self, delivery: Delivery, verdict: Verdict, answer: Answer, now: datetime) -> None:
        """Store the result of an attempt, and what follows for its webhook and its other deliveries."""

    def release(self, delivery_ids: Sequence[str], next_at: datetime) -> None:
        """Hand back claimed deliveries that were not sent."""

    def overdue(self, now: datetime, limit: int) -> list[Delivery]:
        """Waiting deliveries that are due, the oldest first. One query over all tenants."""

    def deliveries(self, tenant_id: str, webhook_id: str, limit: int) -> list[Delivery]:
        """Newest first."""

    def redeliver(self, tenant_id: str, webhook_id: str, delivery_id: str, now: datetime) -> Delivery | None:
        """Let a delivery be due now, whatever became of it before; None when there is none."""

    def forget(self, before: datetime, limit: int) -> int:
        """Delete ended deliveries that were created before then; returns how many."""


class WebhookSender(Protocol):
    def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """POST once, within seconds, to a public address. Never raises for what the endpoint does."""
