"""every minute → deliveries to webhooks that are due again → deeplens.tenant.notifications"""

from datetime import timedelta
from typing import ClassVar

from deeplens.common.ports import Clock
from deeplens.events.notifications import TenantNotification
from deeplens.webhooks.model import Delivery, Webhooks

RETENTION = timedelta(days=30)


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
