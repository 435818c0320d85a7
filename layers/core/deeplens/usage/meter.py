"""deeplens.tenant.usage → totals per tenant and day"""

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Failed, Outcome
from deeplens.errors import InvalidEvent
from deeplens.events.usage import TenantUsage
from deeplens.tenants.batch import by_tenant
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory
from deeplens.usage.model import AHEAD, COUNTED_WITHIN, UsageMeter


class Meter:
    """Add usage to the tenant's day. Consumes ``TenantUsage``, emits nothing.

    An event counts once: its id is stored for longer than the event may be late, so that a replay of the whole topic
    changes no total.
    """

    name: ClassVar = "meter"
    consumes: ClassVar = TenantUsage

    def __init__(self, tenants: TenantDirectory, usage: UsageMeter, clock: Clock) -> None:
        self._tenants, self._usage, self._clock = tenants, usage, clock

    def __call__(self, batch: Sequence[TenantUsage]) -> list[Outcome]:
        return by_tenant(batch, self._tenants, self._meter_tenant)

    def _meter_tenant(self, tenant: Tenant, batch: Sequence[TenantUsage]) -> list[Outcome]:
        now = self._clock.now()
        outcomes = [_countable(event, now) for event in batch]
        self._usage.record(
            [
                (event.event_id, tenant.id, metric, quantity, event.occurred_at)
                for event, outcome in zip(batch, outcomes, strict=True)
                if outcome == Done()
                for metric, quantity in {**(event.quantities or {}), event.metric: event.quantity}.items()
            ]
        )
        return outcomes


def _countable(event: TenantUsage, now: datetime) -> Outcome:
    if event.occurred_at > now + AHEAD:
        return Failed(InvalidEvent(f"occurredAt {event.occurred_at.isoformat()} is in the future"))
    if event.occurred_at < now - COUNTED_WITHIN:
        return Done(dropped="older than ids are kept")
    return Done()
