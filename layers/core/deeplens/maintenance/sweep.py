"""Maintenance ``sweep``: compares the rows, objects and vectors of a tenant."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import batched

from deeplens.common.ports import Clock
from deeplens.errors import ObjectNotFound
from deeplens.images.keys import image_of
from deeplens.images.ports import ImageRepository
from deeplens.maintenance.model import Finding, MaintenanceRun, Row, judge_object, judge_point, report_of
from deeplens.maintenance.slices import Page
from deeplens.maintenance.sweep_rows import SweepRows
from deeplens.storage.ports import ObjectInfo, ObjectStore, StoreResolver
from deeplens.tenants.model import Tenant
from deeplens.vectors.ports import VectorIndex

OBJECTS_AT_ONCE = 1000
POINTS_AT_ONCE = 1000

type Phase = Callable[[Tenant, str, datetime, bool], Iterator[Page]]


@dataclass(frozen=True)
class Sweep:
    """Find contradictions, check them again, and repair them unless the run is a dry run.

    Rows are checked for what they lack, then objects and vectors for rows. Each is listed page by page, and each page
    is looked up in the others, so that database, store and index need no common order. Cursors are ``phase:position``.
    """

    stores: StoreResolver
    images: ImageRepository
    index: VectorIndex
    rows: SweepRows
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

    def objects(self, tenant: Tenant, after: str, before: datetime, dry_run: bool) -> Iterator[Page]:
        """Delete objects without a row, by key. Objects whose keys are not DeepLens' are left alone.

        Raises ``StoreNotOwned`` before it would delete in a bucket that is not proved to belong to this installation; a
        dry run shows what such a bucket holds.
        """
        store = self.stores.for_tenant(tenant)
        orphans_among = partial(self._orphans, tenant, before, judge_object, lambda entry: image_of(entry.key))
        for group in batched(store.list("", after), OBJECTS_AT_ONCE, strict=False):
            suspects = [entry for entry, _ in orphans_among(group)]
            orphans = orphans_among(latest(store, suspects))
            if orphans and not dry_run:
                # No row names these objects: they may belong to another installation that uses the bucket.
                store.require_ours()
                store.delete(entry.key for entry, _ in orphans)
            freed = sum(entry.size_bytes for entry, _ in orphans)
            findings = [finding for _, finding in orphans]
            yield Page(group[-1].key, report_of("objects", len(group), findings, repaired=not dry_run, freed=freed))

    def points(self, tenant: Tenant, position: str, before: datetime, dry_run: bool) -> Iterator[Page]:
        """Delete vectors without a row, by point id, in each model's collection."""
        first, _, start = (position or "0/").partition("/")
        for number, model in list(enumerate(tenant.models))[int(first) :]:
            following = (start if number == int(first) else "") or None
            owner = tenant.using(model)
            orphans_among = partial(self._orphans, owner, before, judge_point, lambda point: point.image_id or "")
            while True:
                page = self.index.scroll(owner, following, POINTS_AT_ONCE)
                suspects = [point for point, _ in orphans_among(page.points)]
                orphans = orphans_among(suspects)
                if not dry_run:
                    self.index.delete_points(owner, [point.id for point, _ in orphans])
                findings = [finding for _, finding in orphans]
                following = page.following
                report = report_of("vectors", len(page.points), findings, repaired=not dry_run)
                yield Page(f"{number}/{following}" if following else f"{number + 1}/", report)
                if following is None:
                    break

    def _orphans[E](
        self,
        tenant: Tenant,
        before: datetime,
        judge: Callable[[E, Row | None, datetime], Finding | None],
        image_id_of: Callable[[E], str | None],
        entries: Sequence[E],
    ) -> list[tuple[E, Finding]]:
        """The entries that ``judge`` finds to have no image. Those whose image id is None are not DeepLens'."""
        named = [(entry, image_id) for entry in entries if (image_id := image_id_of(entry)) is not None]
        rows = self.images.find(tenant, [image_id for _, image_id in named if image_id])
        return [(entry, finding) for entry, image_id in named if (finding := judge(entry, rows.get(image_id), before))]


def latest(store: ObjectStore, entries: Sequence[ObjectInfo]) -> list[ObjectInfo]:
    """The same objects as they are now, without those that disappeared."""
    existing = []
    for entry in entries:
        with suppress(ObjectNotFound):
            existing.append(store.head(entry.key))
    return existing
