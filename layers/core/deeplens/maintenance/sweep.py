"""Maintenance ``sweep``: compares the rows, objects and vectors of a tenant, and finds what each of them lacks."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import batched, takewhile

from deeplens.common.event import Event
from deeplens.common.ports import Clock
from deeplens.errors import InvalidEvent, ObjectNotFound
from deeplens.events.failures import Failure
from deeplens.images.keys import PREFIXES, derived_keys, image_of, processed_key
from deeplens.images.model import ImageRecord, StageResult, Step, Tombstone
from deeplens.images.notifications import image_failed
from deeplens.images.ports import ImageRepository
from deeplens.images.requests import deletion_request, extraction_request, image_uploaded
from deeplens.maintenance.model import (
    Finding,
    MaintenanceRun,
    Row,
    ThumbnailRetention,
    judge_object,
    judge_point,
    judge_row,
    report_of,
)
from deeplens.maintenance.slices import Page
from deeplens.rollouts.model import VectorStates
from deeplens.storage.keys import store_id_of
from deeplens.storage.ports import ObjectInfo, ObjectStore, StoreResolver, exists
from deeplens.tenants.model import Tenant
from deeplens.vectors.ports import VectorIndex

ROWS_AT_ONCE, OBJECTS_AT_ONCE, POINTS_AT_ONCE = 500, 1000, 1000
LOST = Failure(
    code=ObjectNotFound.code,
    message="The original is no longer in the tenant's store; upload it again.",
    retryable=False,
)

type Phase = Callable[[Tenant, str, datetime, bool], Iterator[Page]]
type ExistingKeys = Callable[[ObjectStore, Sequence[Row]], set[str]]


@dataclass(frozen=True)
class SweepRows:
    """Check rows by id, page by page: list the objects of a page, then check each suspect's objects one by one."""

    stores: StoreResolver
    images: ImageRepository
    index: VectorIndex
    vector_states: VectorStates
    thumbnails_kept: ThumbnailRetention | None
    clock: Clock

    def __call__(self, tenant: Tenant, after: str, before: datetime, dry_run: bool) -> Iterator[Page]:
        while rows := self.images.after(tenant, after, ROWS_AT_ONCE):
            suspects = {row.id for row, _ in self._judged(tenant, rows, before, listed_keys)}
            latest = list(self.images.find(tenant, sorted(suspects)).values())
            found = self._judged(tenant, latest, before, checked_keys)
            events = () if dry_run else self._repaired(tenant, found)
            report = report_of("rows", len(rows), [finding for _, finding in found], repaired=not dry_run)
            after = rows[-1].id
            yield Page(after, report, events)

    def _judged(
        self, tenant: Tenant, rows: Sequence[Row], before: datetime, existing_keys: ExistingKeys
    ) -> list[tuple[Row, Finding]]:
        store, lacking = self.stores.for_tenant(tenant), self._lacking(tenant, rows)
        existing, until = existing_keys(store, rows), dropped_before(self.thumbnails_kept, self.clock.now(), before)
        return [
            (row, finding)
            for row in rows
            for finding in judge_row(row, before, expected(store, row, until), existing, lacking.get(row.id, ()))
        ]

    def _lacking(self, tenant: Tenant, rows: Sequence[Row]) -> dict[str, list[str]]:
        """Models by image, as ``name version``, whose vectors are recorded but not in the index."""
        ids = [row.id for row in rows if isinstance(row, ImageRecord) and row.step is Step.COMPLETED]
        lacking: dict[str, list[str]] = {}
        for model in tenant.models if ids else ():
            recorded = self.vector_states.indexed(tenant, model, ids)
            for image_id in recorded - self.index.existing(tenant.using(model), ids):
                lacking.setdefault(image_id, []).append(f"{model.name} {model.version}")
        return lacking

    def _repaired(self, tenant: Tenant, found: Sequence[tuple[Row, Finding]]) -> tuple[Event, ...]:
        lost = [row for row, finding in found if finding.kind == "row-without-object" and isinstance(row, ImageRecord)]
        self._fail(tenant, lost)
        return tuple(event for row, finding in found for event in self._request(tenant, row, finding))

    def _request(self, tenant: Tenant, row: Row, finding: Finding) -> Iterator[Event]:
        """The event that creates, or deletes, what the finding is about."""
        now = self.clock.now()
        match row, finding.kind:
            case Tombstone(), _:
                yield deletion_request(tenant.id, row.id, now)
            case ImageRecord(), "row-without-object":
                yield from image_failed(tenant, row.id, row.generation + 1, LOST, now)
            case ImageRecord(), "row-without-derived":
                yield image_uploaded(tenant.id, row)
            case ImageRecord(), "row-without-vector":
                model = next(model for model in tenant.models if f"{model.name} {model.version}" == finding.detail)
                yield extraction_request(tenant, row.id, row.generation, model, now)

    def _fail(self, tenant: Tenant, rows: Sequence[ImageRecord]) -> None:
        """Mark images as failed, in a new generation, as the last one may have been completed."""
        error = {f"error_{name}": getattr(LOST, name) for name in ("code", "message", "retryable")}
        now = self.clock.now()
        results = [StageResult(row.id, row.generation + 1, Step.FAILED, "sweep", now, **error) for row in rows]
        self.images.advance(tenant, results)
        # Failed images are not searchable. The row came first: no event of its generation writes a vector from here on.
        for model in tenant.models if rows else ():
            self.index.delete(tenant.using(model), [row.id for row in rows])


def expected(store: ObjectStore, row: Row, until: datetime | None = None) -> list[str]:
    """Keys that belong to a live row, the original's first; it is empty if the original is in another store.

    Thumbnails of images that completed before ``until`` may have been dropped.
    """
    if isinstance(row, Tombstone):
        return []
    derived = [processed_key(row.id)] if until and may_lack_thumbnails(row, until) else derived_keys(row.id)
    try:
        return [store.key_of(row.storage_path), *derived]
    except InvalidEvent:
        # Originals in stores that the tenant registered are followed by scans.
        return ["", *derived] if store_id_of(row.storage_path) else []


def dropped_before(kept: timedelta | None, now: datetime, before: datetime) -> datetime | None:
    """Thumbnails of images that completed before this time may be gone; None if none may. Never after ``before``."""
    return None if kept is None else min(now - kept, before)


def may_lack_thumbnails(row: ImageRecord, until: datetime) -> bool:
    return row.step is Step.COMPLETED and row.completed_at is not None and row.completed_at < until


def listed_keys(store: ObjectStore, rows: Sequence[Row]) -> set[str]:
    """The existing keys of a page's images, by listing."""
    return {entry.key for entry in entries_of(store, rows, PREFIXES)}


def entries_of(store: ObjectStore, rows: Sequence[Row], prefixes: Sequence[str]) -> Iterator[ObjectInfo]:
    """Objects of a page's images: each folder is listed from the lowest of their ids to the highest."""
    ids = {row.id for row in rows}
    lowest, highest = min(ids, default=""), max(ids, default="")
    entries = (
        entry
        for prefix in prefixes
        for entry in takewhile(
            lambda entry, prefix=prefix: entry.key.removeprefix(prefix).partition(".")[0] <= highest,  # type: ignore[misc]
            store.list(prefix, prefix + lowest),
        )
    )
    return (entry for entry in entries if image_of(entry.key) in ids)


def checked_keys(store: ObjectStore, rows: Sequence[Row]) -> set[str]:
    """The existing keys of the rows, each checked by itself."""
    return {key for row in rows for key in expected(store, row) if key and exists(store, key)}


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
