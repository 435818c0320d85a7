"""every minute → usage: counted requests, gauges of a new day, storage to measure, budgets that were reached"""

from collections.abc import Sequence
from datetime import UTC, timedelta
from typing import ClassVar

from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Outcome
from deeplens.events.maintenance import ImageMaintenance
from deeplens.events.notifications import TenantNotification
from deeplens.events.usage import TenantUsage
from deeplens.images.ports import ImageRepository
from deeplens.tenants.model import Tenant
from deeplens.usage.model import (
    IDS_KEPT,
    REQUESTS,
    STORED_BYTES,
    STORED_IMAGES,
    Budgets,
    BudgetWarning,
    RequestMinutes,
    StorageInterval,
    UsageMeter,
    budget_reached,
    month_of,
    usage_event,
)

MEASURE_STORAGE = "measure-storage"


class MeterRequests:
    """Turn the counts of ended minutes into one event per tenant, with two statements over all tenants.

    The counts are stored until their event has been metered, and are sent again if that takes too long.
    """

    name: ClassVar = "requests"
    batch_size: ClassVar = 50_000
    events_at_once: ClassVar = 5000
    keep: ClassVar = timedelta(minutes=3)
    """How long minutes are kept: the last two decide which tenants share the windows of images."""
    lost_after: ClassVar = timedelta(minutes=15)

    def __init__(self, request_counters: RequestMinutes, clock: Clock) -> None:
        self._counters, self._clock = request_counters, clock

    def __call__(self) -> list[TenantUsage]:
        now = self._clock.now()
        self._counters.close_minutes(now - self.keep, self.batch_size)
        return [
            usage_event(
                unmetered.tenant_id, {REQUESTS: 0.0, **unmetered.quantities}, unmetered.occurred_at, unmetered.event_id
            )
            for unmetered in self._counters.unmetered(now, now + self.lost_after, self.events_at_once)
        ]


class TickUsage:
    """Carry gauges into a new day, request measurements of the storage of changed tenants, and delete expired ids.

    It runs a few statements over all tenants, and emits one event for each tenant that changed and was not measured
    within ``measured_every``.
    """

    name: ClassVar = "usage"
    measured_at_once: ClassVar = 500
    forgotten_at_once: ClassVar = 20_000

    def __init__(self, usage: UsageMeter, measured_every: StorageInterval, clock: Clock) -> None:
        self._usage, self._every, self._clock = usage, measured_every, clock

    def __call__(self) -> list[ImageMaintenance]:
        now = self._clock.now()
        self._usage.carry_gauges(now.astimezone(UTC).date())
        self._usage.forget(now - IDS_KEPT, self.forgotten_at_once)
        return [
            ImageMaintenance(tenant_id=tenant_id, subject="tenant", maintenance_type=MEASURE_STORAGE, requested_at=now)
            for tenant_id in self._usage.due_for_measurement(now, self._every, self.measured_at_once)
        ]

    def delivered(self, events: Sequence[ImageMaintenance]) -> None:
        self._usage.mark_measured([event.tenant_id for event in events], self._clock.now())


class MeasureStorage:
    """Maintenance ``measure-storage``: emit how much a tenant stores, once for all requests of a batch."""

    def __init__(self, images: ImageRepository, clock: Clock) -> None:
        self._images, self._clock = images, clock

    def __call__(self, tenant: Tenant, batch: Sequence[ImageMaintenance]) -> list[Outcome]:
        stored = self._images.totals(tenant)
        quantities = {STORED_BYTES: stored.bytes, STORED_IMAGES: stored.images}
        measured = usage_event(tenant.id, quantities, self._clock.now())
        return [Done((measured,)), *[Done()] * (len(batch) - 1)]


class TickBudgets:
    """Compare usage with budgets, pause and resume uploads, and notify webhooks once per threshold."""

    name: ClassVar = "budgets"
    notified_at_once: ClassVar = 500

    def __init__(self, budgets: Budgets, clock: Clock) -> None:
        self._budgets, self._clock = budgets, clock
        self._sending: list[BudgetWarning] = []

    def __call__(self) -> list[TenantNotification]:
        now = self._clock.now()
        month = month_of(now)
        self._budgets.evaluate(now, month)
        self._sending = self._budgets.unnotified(month, self.notified_at_once)
        return [budget_reached(warning) for warning in self._sending]

    def delivered(self, events: Sequence[TenantNotification]) -> None:
        """Mark the delivered notifications. A crash before this repeats them with the same ids, which webhooks drop."""
        ids = {event.event_id for event in events}
        self._budgets.mark_notified(
            [warning for warning in self._sending if warning.event_id in ids], self._clock.now()
        )
