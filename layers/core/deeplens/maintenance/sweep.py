"""Maintenance ``sweep``: rows, objects and vectors of a tenant held against each other."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import ClassVar

from deeplens.common.ports import Clock
from deeplens.images.ports import ImageRepository
from deeplens.maintenance.model import MaintenanceRun, ThumbnailRetention
from deeplens.maintenance.slices import Page
from deeplens.maintenance.sweep_leftovers import SweepObjects, SweepPoints
from deeplens.maintenance.sweep_rows import SweepRows
from deeplens.rollouts.model import VectorStates
from deeplens.storage.ports import StoreResolver
from deeplens.tenants.model import Tenant
from deeplens.vectors.ports import VectorIndex

type Phase = Callable[[Tenant, str, datetime, bool], Iterator[Page]]


class Sweep:
    """Find what contradicts each other, look again, and repair it unless the run is a dry one.

    Each kind is listed once, page by page, and each page looked up among the others: rows for what they lack, then
    objects and vectors for what nobody knows. So no order has to be the same in database, store and index. Cursors are
    ``phase:position``.
    """

    phases: ClassVar = ("rows", "objects", "points")

    def __init__(
        self,
        stores: StoreResolver,
        images: ImageRepository,
        index: VectorIndex,
        vector_states: VectorStates,
        thumbnails_kept: ThumbnailRetention | None,
        clock: Clock,
    ) -> None:
        self._images, self._index, self._clock = images, index, clock
        self._phases: dict[str, Phase] = {
            "rows": SweepRows(stores, images, index, vector_states, thumbnails_kept, clock),
            "objects": SweepObjects(stores, images),
            "points": SweepPoints(images, index),
        }

    def pages(self, tenant: Tenant, run: MaintenanceRun, before: datetime) -> Iterator[Page]:
        if not run.cursor and not run.dry_run:
            self._prepare(tenant)
        began, _, position = (run.cursor or f"{self.phases[0]}:").partition(":")
        for name in self.phases[self.phases.index(began) :]:
            for page in self._phases[name](tenant, position if name == began else "", before, run.dry_run):
                yield Page(f"{name}:{page.cursor}", page.report, page.events)

    def _prepare(self, tenant: Tenant) -> None:
        """Forget tombstones that have served their time, and make collections again that were lost as a whole."""
        self._images.purge_tombstones(tenant, self._clock.now())
        for model in tenant.models:
            self._index.create_collection(tenant.using(model))
