"""In-memory databases: the same promises as PostgreSQL, held to them by ``tests/integration``."""

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from deeplens.access.api_keys import digest, new_key, split_key
from deeplens.access.model import Principal
from deeplens.access.scopes import READ, WRITE, checked_scopes
from deeplens.errors import QuotaExceeded, TenantNotFound
from deeplens.events.images import ImageUploaded
from deeplens.images.model import (
    LAST_GENERATION,
    ImageRecord,
    LoggedEvent,
    LogPosition,
    LogQuery,
    MediaQuery,
    NewImage,
    StageResult,
    Step,
    TimelineEntry,
    Tombstone,
)
from deeplens.images.ports import Admission
from deeplens.tenants.directory import CHAT_NOTIFICATIONS
from deeplens.tenants.limits import UNLIMITED, ResourceLimits, Storage, allowance
from deeplens.tenants.model import Tenant, TenantRecord

from tests.fakes.usage import FakeRequestCounters as FakeRequestCounters
from tests.fakes.usage import FakeUsage as FakeUsage

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class FakeDirectory:
    """``TenantDirectory`` over what ``add`` was given; tenants in ``chats`` have a chat linked."""

    def __init__(self, *tenants: Tenant) -> None:
        self.chats: set[str] = set()
        self._tenants = {tenant.id: tenant for tenant in tenants}

    def add(self, tenant: Tenant) -> None:
        self._tenants[tenant.id] = tenant

    def all(self) -> list[Tenant]:
        return list(self._tenants.values())

    def get(self, tenant_id: str, *, fresh: bool = False) -> Tenant:
        tenant = self._tenants.get(tenant_id)
        if tenant is None or tenant.status not in ("active", "suspended"):
            raise TenantNotFound(f"no tenant {tenant_id}")
        if tenant_id in self.chats:
            return replace(tenant, notified=tenant.notified | CHAT_NOTIFICATIONS)
        return tenant


class FakeTenantRecords:
    """The reading half of ``TenantRecords`` over the tenants of a directory."""

    def __init__(self, directory: FakeDirectory) -> None:
        self._directory = directory

    def page(self, after: str, status: str | None, limit: int) -> list[TenantRecord]:
        rows = sorted(self._directory.all(), key=lambda tenant: tenant.id)
        return [_record(row) for row in rows if row.id > after and status in (None, row.status)][:limit]

    def find(self, tenant_id: str) -> TenantRecord | None:
        return next((_record(row) for row in self._directory.all() if row.id == tenant_id), None)


def _record(tenant: Tenant) -> TenantRecord:
    place = {"own_database_server": False, "storage_uri": tenant.storage_uri, "qdrant_url": None, "model": tenant.model}
    times = {"status_since": EPOCH, "created_at": EPOCH}
    settings: dict[str, Any] = {"limits": tenant.limits, "settings": {}, "video": tenant.video, "progress": {}}
    return TenantRecord(tenant.id, tenant.name, tenant.status, **place, **settings, **times)


class FakeImages:
    """``ImageRepository`` in dictionaries, one set per tenant."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._rows: dict[str, dict[str, ImageRecord]] = defaultdict(dict)
        self._tombstones: dict[str, dict[str, Tombstone]] = defaultdict(dict)
        self._timelines: dict[tuple[str, str], list[TimelineEntry]] = defaultdict(list)
        self._log: list[tuple[str, str, TimelineEntry]] = []
        self._starts = Counter[tuple[str, str]]()
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def insert(self, tenant: Tenant, image: NewImage, limits: ResourceLimits = UNLIMITED) -> ImageRecord | Tombstone:
        with self._lock:
            if image.id not in self._rows[tenant.id] and image.id not in self._tombstones[tenant.id]:
                used = self.totals(tenant)
                if allowance(limits, used, Storage(1, image.size_bytes)).exceeded:
                    raise QuotaExceeded(used.images, used.bytes)
                self._rows[tenant.id][image.id] = _accepted(image)
                entry = TimelineEntry("accept", Step.ACCEPTED, 1, image.uploaded_at, None, None, None)
                self._timelines[tenant.id, image.id] = [entry]
                self._log.append((tenant.id, image.id, entry))
            return self.find(tenant, [image.id])[image.id]

    def totals(self, tenant: Tenant) -> Storage:
        with self._lock:
            rows = self._rows[tenant.id].values()
            return Storage(len(rows), sum(row.size_bytes for row in rows))

    def find(self, tenant: Tenant, image_ids: Sequence[str]) -> dict[str, ImageRecord | Tombstone]:
        with self._lock:
            known = self._rows[tenant.id] | self._tombstones[tenant.id]
            return {image_id: known[image_id] for image_id in image_ids if image_id in known}

    def advance(self, tenant: Tenant, results: Sequence[StageResult]) -> None:
        with self._lock:
            before = {image_id: row.generation for image_id, row in self._live(tenant).items()}
            for result in sorted(results, key=lambda r: (r.generation, r.step)):
                if result.generation >= before.get(result.image_id, 1 << 31):
                    self._advance_one(tenant, result)

    def start(self, tenant: Tenant, image_id: str) -> int:
        with self._lock:
            self._starts[tenant.id, image_id] += 1
            return self._starts[tenant.id, image_id]

    def stop(self, tenant: Tenant, image_id: str) -> None:
        self._starts.pop((tenant.id, image_id), None)

    def _advance_one(self, tenant: Tenant, result: StageResult) -> None:
        row = self._rows[tenant.id][result.image_id]
        if (row.generation, row.step) < (result.generation, result.step):
            self._rows[tenant.id][row.id] = _moved(row, result, self.now())
        timeline = self._timelines[tenant.id, row.id]
        if all((e.generation, e.step, e.stage) != (result.generation, result.step, result.stage) for e in timeline):
            timeline.append(_entry(result))
            self._log.append((tenant.id, row.id, timeline[-1]))

    def page(self, tenant: Tenant, query: MediaQuery) -> list[ImageRecord]:
        with self._lock:
            rows = [row for row in self._live(tenant).values() if row.video_id is None and _matches(row, query)]
        return sorted(rows, key=lambda row: (row.uploaded_at, row.id), reverse=True)[: query.limit]

    def after(self, tenant: Tenant, image_id: str, limit: int) -> list[ImageRecord | Tombstone]:
        with self._lock:
            ids = sorted(known for known in self._rows[tenant.id] if known > image_id)[:limit]
            return [self.find(tenant, [known_id])[known_id] for known_id in ids]

    def with_digests(self, tenant: Tenant, sha256s: Sequence[str]) -> dict[str, ImageRecord]:
        with self._lock:
            rows = [row for row in self._live(tenant).values() if row.sha256 in sha256s]
        # The best one last, so that it is the one that stays.
        ranked = sorted(sorted(rows, key=lambda row: row.id, reverse=True), key=lambda row: row.step is not Step.FAILED)
        return {row.sha256: row for row in ranked}

    def timeline(self, tenant: Tenant, image_id: str) -> list[TimelineEntry]:
        with self._lock:
            return sorted(self._timelines[tenant.id, image_id], key=lambda e: (e.generation, e.occurred_at))

    def amend(
        self, tenant: Tenant, image_id: str, *, tags: Sequence[str] | None, metadata: dict[str, Any] | None
    ) -> ImageRecord | None:
        with self._lock:
            row = self._live(tenant).get(image_id)
            if row is None:
                return None
            self._rows[tenant.id][image_id] = replace(
                row,
                tags=row.tags if tags is None else tuple(tags),
                metadata=row.metadata if metadata is None else metadata,
                revision=row.revision + 1,
                updated_at=datetime.now(UTC),
            )
            return self._rows[tenant.id][image_id]

    def mark_deleted(self, tenant: Tenant, image_id: str, at: datetime, into: str | None = None) -> bool:
        with self._lock:
            if image_id in self._rows[tenant.id]:
                self._tombstones[tenant.id].setdefault(image_id, Tombstone(image_id, at, merged_into=into))
            return image_id in self._tombstones[tenant.id]

    def delete_rows(self, tenant: Tenant, receipts: dict[str, dict[str, Any]]) -> None:
        with self._lock:
            tombstones = self._tombstones[tenant.id]
            for image_id in receipts.keys() & tombstones.keys():
                tombstones[image_id] = replace(tombstones[image_id], receipt=receipts[image_id])
                self._rows[tenant.id].pop(image_id, None)
                self._timelines.pop((tenant.id, image_id), None)

    def purge_tombstones(self, tenant: Tenant, now: datetime, keep: timedelta = timedelta(days=37)) -> int:
        with self._lock:
            tombstones = self._tombstones[tenant.id]
            ended = [t for t in tombstones.values() if t.receipt is not None and t.merged_into is None]
            old = [t for t in ended if t.deleted_at < now - keep]
            for tombstone in old:
                del tombstones[tombstone.id]
            return len(old)

    def log(self, tenant: Tenant) -> list[tuple[str, TimelineEntry]]:
        """Lines of live images in the order they were written."""
        with self._lock:
            live = self._live(tenant)
            return [
                (image_id, entry) for owner, image_id, entry in self._log if owner == tenant.id and image_id in live
            ]

    def rows(self, tenant: Tenant) -> dict[str, ImageRecord]:
        """Live images, for the fakes beside this one."""
        with self._lock:
            return self._live(tenant)

    def known(self, tenant: Tenant) -> set[str]:
        """Images that have a row, buried or not."""
        return set(self._rows[tenant.id])

    def revive(self, tenant: Tenant, image_id: str, merged_into: str) -> bool:
        """Take back the tombstone of a merged image that still has its row."""
        with self._lock:
            tombstone = self._tombstones[tenant.id].get(image_id)
            if tombstone is None or tombstone.merged_into != merged_into or image_id not in self._rows[tenant.id]:
                return False
            del self._tombstones[tenant.id][image_id]
            return True

    def forget(self, tenant: Tenant, image_id: str) -> None:
        with self._lock:
            self._rows[tenant.id].pop(image_id, None)

    def all_rows(self, tenant: Tenant) -> dict[str, ImageRecord]:
        """Rows that are not erased, those of deleted images included."""
        with self._lock:
            return dict(self._rows[tenant.id])

    def _live(self, tenant: Tenant) -> dict[str, ImageRecord]:
        buried = self._tombstones[tenant.id]
        return {image_id: row for image_id, row in self._rows[tenant.id].items() if image_id not in buried}


class FakeEventLog:
    """``EventLog`` over the timelines of ``FakeImages``; a line's number is its place in time."""

    def __init__(self, images: FakeImages) -> None:
        self._images = images

    def settled(self, tenant: Tenant) -> LogPosition:
        return self._at(len(self._images.log(tenant))), 0

    def page(self, tenant: Tenant, query: LogQuery) -> list[LoggedEvent]:
        lines = [
            LoggedEvent(**asdict(line), id=n + 1, image_id=owner, recorded_at=self._at(n))
            for n, (owner, line) in enumerate(self._images.log(tenant))
        ]
        found = [line for line in lines if _logged(line, query)]
        if query.after is None:
            found.reverse()
        return found[: query.limit]

    @staticmethod
    def _at(number: int) -> datetime:
        return datetime(2026, 11, 20, tzinfo=UTC) + timedelta(seconds=number)


def _logged(line: LoggedEvent, query: LogQuery) -> bool:
    return (
        query.image_id in (None, line.image_id)
        and query.stage in (None, line.stage)
        and query.step in (None, line.step)
        and (not query.errors or line.error_code is not None)
        and (query.after is None or line.position > query.after)
        and (query.after is not None or query.before is None or line.position < query.before)
    )


class FakePending:
    """``PendingImages`` in a dictionary, in the order of admission."""

    def __init__(self, window: int, frames: int | None = None) -> None:
        self._window, self._frames = window, frames or window
        self._lock = threading.RLock()
        self._rows: dict[tuple[str, str], tuple[ImageUploaded, datetime, bool]] = {}

    def admit(self, event: ImageUploaded, due: datetime) -> Admission:
        with self._lock:
            key = (event.tenant_id, event.image_id)
            _, _, released = self._rows.get(key, (None, None, self._in_flight(event.tenant_id) < self._window))
            known = self._rows[key][0] if key in self._rows else event
            newer = event.effective_generation > known.effective_generation
            self._rows[key] = (event if newer else known, due, released)
            return Admission(self._rows[key][0], released)

    def admit_frames(self, tenant_id: str, events: Sequence[ImageUploaded], due: datetime) -> list[ImageUploaded]:
        with self._lock:
            room = min(
                self._window - self._in_flight(tenant_id), self._frames - self._in_flight(tenant_id, frames=True)
            )
            released = []
            for number, event in enumerate(events):
                key = (tenant_id, event.image_id)
                first, _, free = self._rows.get(key, (event, due, number < room))
                self._rows[key] = (first, due, free)
                released += [first] if free else []
            return released

    def finish(
        self,
        images: Sequence[tuple[str, str]],
        due: datetime,
        generations: Sequence[int] | None = None,
        *,
        still_due: datetime | None = None,
    ) -> list[ImageUploaded]:
        with self._lock:
            for key, generation in zip(images, generations or [LAST_GENERATION] * len(images), strict=True):
                row = self._rows.get(key)
                if row and row[0].effective_generation <= generation and still_due in (None, row[1]):
                    del self._rows[key]
            tenants = {tenant_id for tenant_id, _ in images}
            waiting = [key for key, row in self._rows.items() if key[0] in tenants and not row[2]]
            waiting.sort(key=lambda key: self._rows[key][0].video_id is not None)
            return [self._release(key, due) for key in waiting if self._has_room(key)]

    def _has_room(self, key: tuple[str, str]) -> bool:
        frame = self._rows[key][0].video_id is not None
        within = not frame or self._in_flight(key[0], frames=True) < self._frames
        return within and self._in_flight(key[0]) < self._window

    def postpone(self, images: Sequence[tuple[str, str, datetime]]) -> None:
        with self._lock:
            for tenant_id, image_id, later in images:
                if row := self._rows.get((tenant_id, image_id)):
                    event, due, released = row
                    self._rows[tenant_id, image_id] = (event, max(due, later), released)

    def count(self, tenant_id: str) -> int:
        with self._lock:
            return sum(tenant == tenant_id for tenant, _ in self._rows)

    def overdue(self, now: datetime, due: datetime, limit: int) -> list[ImageUploaded]:
        with self._lock:
            late = [(key, row) for key, row in self._rows.items() if row[2] and row[1] < now]
            oldest = sorted(late, key=lambda one: one[1][1])[:limit]
            return [self._release(key, due) for key, _ in oldest]

    def images(self) -> set[str]:
        """Those that have not ended, of all tenants."""
        with self._lock:
            return {image_id for _, image_id in self._rows}

    def _release(self, key: tuple[str, str], due: datetime) -> ImageUploaded:
        self._rows[key] = (self._rows[key][0], due, True)
        return self._rows[key][0]

    def _in_flight(self, tenant_id: str, *, frames: bool = False) -> int:
        rows = [row for (tenant, _), row in self._rows.items() if tenant == tenant_id and row[2]]
        return sum(not frames or event.video_id is not None for event, _, _ in rows)


class FakeApiKeys:
    """``ApiKeys`` in a dictionary."""

    def __init__(self) -> None:
        self._keys: dict[str, tuple[bytes, Principal, datetime | None]] = {}

    def create(
        self,
        tenant_id: str | None,
        name: str,
        scopes: Iterable[str] = (READ, WRITE),
        expires_at: datetime | None = None,
    ) -> str:
        key, granted = new_key(), frozenset(checked_scopes(scopes))
        principal = Principal(tenant_id, f"key:{key.prefix}", granted)
        self._keys[key.prefix] = (key.secret_sha256, principal, expires_at)
        return key.presented

    def revoke(self, prefix: str) -> bool:
        return self._keys.pop(prefix, None) is not None

    def authenticate(self, presented: str) -> Principal | None:
        prefix, secret = split_key(presented) or ("", "")
        stored, principal, expires_at = self._keys.get(prefix, (b"", None, None))
        expired = expires_at is not None and expires_at <= datetime.now(UTC)
        return principal if stored == digest(secret) and not expired else None


def _accepted(image: NewImage) -> ImageRecord:
    return ImageRecord(
        id=image.id,
        file_name=image.file_name,
        storage_path=image.storage_path,
        mime_type=image.mime_type,
        size_bytes=image.size_bytes,
        sha256=image.sha256,
        uploaded_at=image.uploaded_at,
        updated_at=image.uploaded_at,
        generation=1,
        step=Step.ACCEPTED,
        revision=1,
        tags=tuple(image.tags),
        metadata=dict(image.metadata),
        video_id=image.video_id,
        frame_offset_seconds=image.frame_offset_seconds,
    )


def _moved(row: ImageRecord, result: StageResult, now: datetime) -> ImageRecord:
    return replace(
        row,
        generation=result.generation,
        step=result.step,
        updated_at=now,
        error_code=result.error_code,
        error_message=result.error_message,
        error_retryable=result.error_retryable,
        attempt=result.attempt,
        **{name: value for name, value in result.changes.items() if value is not None},
    )


def _entry(result: StageResult) -> TimelineEntry:
    return TimelineEntry(
        result.stage,
        result.step,
        result.generation,
        result.occurred_at,
        result.duration_seconds,
        result.error_code,
        result.error_message,
    )


def _matches(row: ImageRecord, query: MediaQuery) -> bool:
    return (
        (not query.statuses or row.step.name.lower() in query.statuses)
        and set(query.tags) <= set(row.tags)
        and (query.uploaded_from is None or row.uploaded_at >= query.uploaded_from)
        and (query.uploaded_before is None or row.uploaded_at < query.uploaded_before)
        and (query.after is None or (row.uploaded_at, row.id) < query.after)
    )
