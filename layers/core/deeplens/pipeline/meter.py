"""deeplens.tenant.usage → totals per tenant and day"""

from collections.abc import Sequence
from typing import ClassVar

from deeplens.contracts.events import TenantUsage
from deeplens.domain import Tenant
from deeplens.pipeline.batch import by_tenant
from deeplens.pipeline.outcome import Done, Outcome
from deeplens.ports import TenantDirectory, UsageMeter


class Meter:
    """Add usage to the tenant's day. Consumes ``TenantUsage``, emits nothing; an event counts once."""

    name: ClassVar = "meter"
    consumes: ClassVar = TenantUsage

    def __init__(self, tenants: TenantDirectory, usage: UsageMeter) -> None:
        self._tenants, self._usage = tenants, usage

    def __call__(self, batch: Sequence[TenantUsage]) -> list[Outcome]:
        return by_tenant(batch, self._tenants, self._meter_tenant)

    def _meter_tenant(self, tenant: Tenant, batch: Sequence[TenantUsage]) -> list[Outcome]:
        self._usage.record(
            [(event.event_id, tenant.id, event.metric, event.quantity, event.occurred_at) for event in batch]
        )
        return [Done()] * len(batch)
