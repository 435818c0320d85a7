"""Maintenance ``measure-storage``: meters how much a tenant stores."""

from collections.abc import Sequence

from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Outcome
from deeplens.events.maintenance import ImageMaintenance
from deeplens.images.ports import ImageRepository
from deeplens.tenants.model import Tenant
from deeplens.usage.model import STORED_BYTES, STORED_IMAGES, usage_event

MEASURE_STORAGE = "measure-storage"


class MeasureStorage:
    """Read the totals and emit them as ``TenantUsage``, once for all requests of a batch."""

    def __init__(self, images: ImageRepository, clock: Clock) -> None:
        self._images, self._clock = images, clock

    def __call__(self, tenant: Tenant, batch: Sequence[ImageMaintenance]) -> list[Outcome]:
        stored = self._images.totals(tenant)
        quantities = {STORED_BYTES: stored.bytes, STORED_IMAGES: stored.images}
        measured = usage_event(tenant.id, quantities, self._clock.now())
        return [Done((measured,)), *[Done()] * (len(batch) - 1)]
