"""Maintenance ``sweep``: compares the rows, objects and vectors of a tenant."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from deeplens.common.ports import Clock
from deeplens.images.ports import ImageRepository
from deeplens.maintenance.model import MaintenanceRun
from deeplens.maintenance.slices import Page
from deeplens.maintenance.sweep_leftovers import SweepObjects, SweepPoints
from deeplens.maintenance.sweep_rows import SweepRows
from deeplens.tenants.model import Tenant
from deeplens.vectors.ports import VectorIndex

type Phase = Callable[[Tenant, str, datetime, bool], Iterator[Page]]


@dataclass(frozen=True)
class Sweep:
    """Find contradictions, check them again, and repair them unless the run is a dry run.

    Rows are checked for what they lack, then objects and vectors for rows. Each is listed page by page, and each page
    is looked up in the others, so that database, store and index need no common order. Cursors are ``phase:position``.
    """

    images: ImageRepository
    index: VectorIndex
    rows: SweepRows
    objects: SweepObjects
    points: SweepPoints
    clock: Clock

    def pages(self, tenant: Tenant, run: MaintenanceRun, before: datetime) -> Iterator[Page]:
        if not run.cursor and not run.dry_run:
            self._prepare(tenant)
        phases: dict[str, Phase] = {"rows": self.rows, "objects": self.objects, "points": self.points}
        first, _, position = (run.cursor or "rows:").partition(":")
        for name in list(phases)[list(phases).index(first) :]:
            for page in phases[name](tenant, position if name == first else "", before, run.dry_run):
                yield Page(f"{name}:{page.cursor}", page.report, page.events)

    def _prepare(self, tenant: Tenant) -> None:
        """Purge expired tombstones, and create collections again that were lost as a whole."""
        self.images.purge_tombstones(tenant, self.clock.now())
        for model in tenant.models:
            self.index.create_collection(tenant.using(model))
