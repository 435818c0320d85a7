"""Run a batch tenant by tenant."""

from collections.abc import Callable, Sequence
from typing import Protocol

from deeplens.common.groups import grouped
from deeplens.common.stage import Failed, Outcome, Waiting
from deeplens.errors import DependencyUnavailable, PipelineError
from deeplens.telemetry.tracing import about
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory


class OfTenant(Protocol):
    @property
    def tenant_id(self) -> str: ...


def by_tenant[E: OfTenant](
    batch: Sequence[E],
    tenants: TenantDirectory,
    work: Callable[[Tenant, Sequence[E]], list[Outcome]],
    *,
    fresh: bool = False,
) -> list[Outcome]:
    """Run ``work`` once per tenant; a tenant that fails or waits leaves the others alone.

    ``fresh`` reads the tenants' rows instead of using cached ones. Returns outcomes in the order of ``batch``.
    """
    outcomes: dict[int, Outcome] = {}
    for tenant_id, members in grouped(range(len(batch)), lambda position: batch[position].tenant_id).items():
        events = [batch[position] for position in members]
        found: list[Outcome]
        try:
            with about(*events):
                found = work(tenants.get(tenant_id, fresh=fresh), events)
        except DependencyUnavailable as error:
            found = [Waiting(error)] * len(events)
        except PipelineError as error:
            found = [Failed(error)] * len(events)
        outcomes.update(zip(members, found, strict=True))
    return [outcomes[position] for position in range(len(batch))]
