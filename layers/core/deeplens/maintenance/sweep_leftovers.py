"""Orphans: objects and vectors whose image has no row."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import batched

from deeplens.errors import ObjectNotFound
from deeplens.images.keys import image_of
from deeplens.images.ports import ImageRepository
from deeplens.maintenance.model import Finding, judge_object, judge_point, report_of
from deeplens.maintenance.slices import Page
from deeplens.storage.ports import ObjectInfo, ObjectStore, StoreResolver
from deeplens.tenants.model import Tenant
from deeplens.vectors.ports import IndexedPoint, VectorIndex

OBJECTS_AT_ONCE = 1000
POINTS_AT_ONCE = 1000


@dataclass(frozen=True)
class SweepObjects:
    """Delete objects without a row, by key. Objects whose keys are not DeepLens' are left alone.

    Raises ``StoreNotOwned`` before it would delete in a bucket that is not proved to belong to this installation; a dry
    run shows what such a bucket holds.
    """

    stores: StoreResolver
    images: ImageRepository

    def __call__(self, tenant: Tenant, after: str, before: datetime, dry_run: bool) -> Iterator[Page]:
        store = self.stores.for_tenant(tenant)
        for group in batched(store.list("", after), OBJECTS_AT_ONCE, strict=False):
            suspects = [entry for entry, _ in self._orphans(tenant, group, before)]
            orphans = self._orphans(tenant, latest(store, suspects), before)
            if orphans and not dry_run:
                # No row names these objects: they may belong to another installation that uses the bucket.
                store.require_ours()
                store.delete(entry.key for entry, _ in orphans)
            freed = sum(entry.size_bytes for entry, _ in orphans)
            found = [finding for _, finding in orphans]
            report = report_of("objects", len(group), found, repaired=not dry_run, freed=freed)
            yield Page(group[-1].key, report)

    def _orphans(
        self, tenant: Tenant, entries: Sequence[ObjectInfo], before: datetime
    ) -> list[tuple[ObjectInfo, Finding]]:
        named = [(entry, image_id) for entry in entries if (image_id := image_of(entry.key))]
        rows = self.images.find(tenant, [image_id for _, image_id in named])
        judged = [(entry, judge_object(entry, rows.get(image_id), before)) for entry, image_id in named]
        return [(entry, finding) for entry, finding in judged if finding]


@dataclass(frozen=True)
class SweepPoints:
    """Delete vectors without a row, by point id, in each model's collection."""

    images: ImageRepository
    index: VectorIndex

    def __call__(self, tenant: Tenant, position: str, before: datetime, dry_run: bool) -> Iterator[Page]:
        began, _, start = (position or "0/").partition("/")
        for number, model in enumerate(tenant.models):
            if number >= int(began):
                first = (start if number == int(began) else "") or None
                yield from self._pages(tenant.using(model), number, first, before, dry_run)

    def _pages(
        self, owner: Tenant, number: int, following: str | None, before: datetime, dry_run: bool
    ) -> Iterator[Page]:
        while True:
            page = self.index.scroll(owner, following, POINTS_AT_ONCE)
            suspects = [point for point, _ in self._orphans(owner, page.points, before)]
            orphans = self._orphans(owner, suspects, before)
            if not dry_run:
                self.index.delete_points(owner, [point.id for point, _ in orphans])
            found = [finding for _, finding in orphans]
            following = page.following
            report = report_of("vectors", len(page.points), found, repaired=not dry_run)
            yield Page(f"{number}/{following}" if following else f"{number + 1}/", report)
            if following is None:
                return

    def _orphans(
        self, tenant: Tenant, points: Sequence[IndexedPoint], before: datetime
    ) -> list[tuple[IndexedPoint, Finding]]:
        rows = self.images.find(tenant, [point.image_id for point in points if point.image_id])
        judged = [(point, judge_point(point, rows.get(point.image_id or ""), before)) for point in points]
        return [(point, finding) for point, finding in judged if finding]


def latest(store: ObjectStore, entries: Sequence[ObjectInfo]) -> list[ObjectInfo]:
    """The same objects as they are now, without those that disappeared."""
    found = []
    for entry in entries:
        try:
            found.append(store.head(entry.key))
        except ObjectNotFound:
            continue
    return found
