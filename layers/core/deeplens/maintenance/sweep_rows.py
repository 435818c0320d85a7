"""What rows lack: their original, what is made of it, their vectors, the rest of their deletion."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import takewhile

from deeplens.common.event import Event
from deeplens.common.ports import Clock
from deeplens.errors import InvalidEvent, ObjectNotFound
from deeplens.events.failures import Failure
from deeplens.events.maintenance import ImageMaintenance
from deeplens.images.keys import PREFIXES, derived_keys, image_of, processed_key
from deeplens.images.model import ImageRecord, StageResult, Step, Tombstone
from deeplens.images.notifications import image_failed
from deeplens.images.ports import ImageRepository
from deeplens.images.requests import ACTIONS, extraction_request, uploaded_again
from deeplens.maintenance.model import Finding, ThumbnailRetention, judge_row, report_of
from deeplens.maintenance.slices import Page
from deeplens.rollouts.model import VectorStates
from deeplens.storage.keys import store_id_of
from deeplens.storage.ports import ObjectInfo, ObjectStore, StoreResolver
from deeplens.tenants.model import Tenant
from deeplens.vectors.ports import VectorIndex

ROWS_AT_ONCE = 500
LOST = "The original is no longer in the tenant's store; upload it again."

type Row = ImageRecord | Tombstone
type Standing = Callable[[ObjectStore, Sequence[Row]], set[str]]


class SweepRows:
    """Rows by id, a page at a time; a page's objects are listed, and those of suspects asked for one by one."""

    def __init__(
        self,
        stores: StoreResolver,
        images: ImageRepository,
        index: VectorIndex,
        vector_states: VectorStates,
        thumbnails_kept: ThumbnailRetention | None,
        clock: Clock,
    ) -> None:
        self._stores, self._images, self._index = stores, images, index
        self._states, self._kept, self._clock = vector_states, thumbnails_kept, clock

    def __call__(self, tenant: Tenant, after: str, before: datetime, dry_run: bool) -> Iterator[Page]:
        while rows := self._images.after(tenant, after, ROWS_AT_ONCE):
            suspects = {id_of(row) for row, _ in self._judged(tenant, rows, before, listed)}
            latest = list(self._images.find(tenant, sorted(suspects)).values())
            found = self._judged(tenant, latest, before, asked_for)
            events = () if dry_run else self._repaired(tenant, found)
            report = report_of("rows", len(rows), [one for _, one in found], repaired=not dry_run)
            after = id_of(rows[-1])
            yield Page(after, report, events)

    def _judged(
        self, tenant: Tenant, rows: Sequence[Row], before: datetime, standing: Standing
    ) -> list[tuple[Row, Finding]]:
        store, lacking = self._stores.for_tenant(tenant), self._lacking(tenant, rows)
        there, until = standing(store, rows), dropped_before(self._kept, self._clock.now(), before)
        return [
            (row, finding)
            for row in rows
            for finding in judge_row(row, before, expected(store, row, until), there, lacking.get(id_of(row), ()))
        ]

    def _lacking(self, tenant: Tenant, rows: Sequence[Row]) -> dict[str, list[str]]:
        """Models by image, ``name version``, whose vectors are recorded but not there."""
        ids = [row.id for row in rows if isinstance(row, ImageRecord) and row.step is Step.COMPLETED]
        lacking: dict[str, list[str]] = {}
        for model in tenant.models if ids else ():
            recorded = self._states.indexed(tenant, model, ids)
            for image_id in recorded - self._index.existing(tenant.using(model), ids):
                lacking.setdefault(image_id, []).append(f"{model.name} {model.version}")
        return lacking

    def _repaired(self, tenant: Tenant, found: Sequence[tuple[Row, Finding]]) -> tuple[Event, ...]:
        lost = [row for row, one in found if one.kind == "row-without-object" and isinstance(row, ImageRecord)]
        self._fail(tenant, lost)
        return tuple(event for row, one in found for event in self._request(tenant, row, one))

    def _request(self, tenant: Tenant, row: Row, finding: Finding) -> Iterator[Event]:
        """The event that has something made, or removed, that should be."""
        now = self._clock.now()
        match row, finding.kind:
            case Tombstone(), _:
                yield ImageMaintenance(
                    maintenance_type="delete",
                    image_id=row.image_id,
                    tenant_id=tenant.id,
                    actions=list(ACTIONS),
                    requested_at=now,
                )
            case ImageRecord(), "row-without-object":
                gone = Failure(code=ObjectNotFound.code, message=LOST, retryable=False)
                yield from image_failed(tenant, row.id, row.generation + 1, gone, now)
            case ImageRecord(), "row-without-derived":
                yield uploaded_again(tenant, row)
            case ImageRecord(), "row-without-vector":
                model = next(one for one in tenant.models if f"{one.name} {one.version}" == finding.detail)
                yield extraction_request(tenant, row.id, row.generation, model, now)

    def _fail(self, tenant: Tenant, rows: Sequence[ImageRecord]) -> None:
        """Mark images as failed: in a generation of its own, as the last one may have been completed."""
        now, code = self._clock.now(), ObjectNotFound.code
        results = [
            StageResult(
                row.id,
                row.generation + 1,
                Step.FAILED,
                "sweep",
                now,
                error_code=code,
                error_message=LOST,
                error_retryable=False,
            )
            for row in rows
        ]
        self._images.advance(tenant, results)
        # What failed is not found. The row came first: from here on no event of its generation writes a vector.
        for model in tenant.models if rows else ():
            self._index.delete(tenant.using(model), [row.id for row in rows])


def id_of(row: Row) -> str:
    return row.image_id if isinstance(row, Tombstone) else row.id


def expected(store: ObjectStore, row: Row, until: datetime | None = None) -> list[str]:
    """Keys that belong to a live row, the original's first; it is empty where that stands in another store.

    ``until`` is when images completed whose thumbnails may have been dropped by now.
    """
    if isinstance(row, Tombstone):
        return []
    derived = [processed_key(row.id)] if until and may_lack_thumbnails(row, until) else derived_keys(row.id)
    try:
        return [store.key_of(row.storage_path), *derived]
    except InvalidEvent:
        # Scans look after originals in stores that the tenant registered.
        return ["", *derived] if store_id_of(row.storage_path) else []


def dropped_before(kept: timedelta | None, now: datetime, before: datetime) -> datetime | None:
    """Until when images completed whose thumbnails may be gone, never later than ``before``; None: none may be."""
    return None if kept is None else min(now - kept, before)


def may_lack_thumbnails(row: ImageRecord, until: datetime) -> bool:
    return row.step is Step.COMPLETED and row.completed_at is not None and row.completed_at < until


def listed(store: ObjectStore, rows: Sequence[Row]) -> set[str]:
    """Keys of a page's images."""
    return {entry.key for entry in entries_of(store, rows, PREFIXES)}


def entries_of(store: ObjectStore, rows: Sequence[Row], prefixes: Sequence[str]) -> Iterator[ObjectInfo]:
    """Objects of a page's images: each folder is read from the least of their ids to the greatest."""
    ids = {id_of(row) for row in rows}
    least, greatest = min(ids, default=""), max(ids, default="")
    entries = (
        entry
        for prefix in prefixes
        for entry in takewhile(
            lambda entry, prefix=prefix: entry.key.removeprefix(prefix).partition(".")[0] <= greatest,  # type: ignore[misc]
            store.list(prefix, prefix + least),
        )
    )
    return (entry for entry in entries if image_of(entry.key) in ids)


def asked_for(store: ObjectStore, rows: Sequence[Row]) -> set[str]:
    """Those of the rows' keys that stand, each asked for by itself."""
    return {key for row in rows for key in expected(store, row) if key and stands(store, key)}


def stands(store: ObjectStore, key: str) -> bool:
    try:
        store.head(key)
    except ObjectNotFound:
        return False
    return True
