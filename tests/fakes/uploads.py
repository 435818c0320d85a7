"""Direct uploads in memory: rows, the object queue, and what clients send to a store."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from deeplens.errors import QueueUnavailable
from deeplens.events.bucket import ObjectLocation
from deeplens.storage.keys import checked
from deeplens.storage.ports import FormPost, Part, PartUrl
from deeplens.tenants.limits import Storage
from deeplens.tenants.model import Tenant
from deeplens.uploads.model import DirectUpload, Refusal, UploadStatus

if TYPE_CHECKING:
    from tests.fakes.storage import MemoryStore


class FakeDirectUploads:
    """``DirectUploads``."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._rows: dict[tuple[str, str], DirectUpload] = {}
        self._claims: dict[tuple[str, str], datetime] = {}

    def add(self, upload: DirectUpload) -> DirectUpload:
        with self._lock:
            return self._rows.setdefault((upload.tenant_id, upload.id), upload)

    def find(self, tenant_id: str, upload_id: str) -> DirectUpload | None:
        return self._rows.get((tenant_id, upload_id))

    def keep_multipart(self, tenant_id: str, upload_id: str, multipart_id: str) -> str:
        with self._lock:
            if (row := self.find(tenant_id, upload_id)) is None:
                return ""
            self._rows[tenant_id, upload_id] = replace(row, multipart_id=row.multipart_id or multipart_id)
            return row.multipart_id or multipart_id

    def claim(self, tenant_id: str, upload_id: str, now: datetime, until: datetime) -> bool:
        with self._lock:
            row, claimed = self.find(tenant_id, upload_id), self._claims.get((tenant_id, upload_id))
            if row is None or row.status != "open" or (claimed and claimed > now):
                return False
            self._claims[tenant_id, upload_id] = until
            return True

    def put_off(self, tenant_id: str, upload_id: str, due: datetime, refusal: Refusal | None = None) -> None:
        with self._lock:
            row = self.find(tenant_id, upload_id)
            if row is not None and row.status == "open":
                attempts = row.attempts + (refusal is not None)
                changed = replace(row, due=due, attempts=attempts, refusal=refusal or row.refusal)
                self._rows[tenant_id, upload_id] = changed
                self._claims.pop((tenant_id, upload_id), None)

    def end(
        self, tenant_id: str, upload_id: str, status: UploadStatus, now: datetime, refusal: Refusal | None = None
    ) -> None:
        with self._lock:
            row = self.find(tenant_id, upload_id)
            if row is not None and row.status == "open":
                self._rows[tenant_id, upload_id] = replace(row, status=status, ended_at=now, refusal=refusal)

    def expect(self, tenant_id: str, upload_id: str, due: datetime) -> None:
        with self._lock:
            row = self.find(tenant_id, upload_id)
            if row is not None and row.status == "open":
                self._rows[tenant_id, upload_id] = replace(row, due=min(row.due, due))

    def overdue(self, now: datetime, due: datetime, limit: int) -> list[DirectUpload]:
        with self._lock:
            late = sorted((r for r in self._rows.values() if r.status == "open" and r.due < now), key=lambda r: r.due)
            for row in late[:limit]:
                self._rows[row.tenant_id, row.id] = replace(row, due=due)
            return [self._rows[row.tenant_id, row.id] for row in sorted(late[:limit], key=lambda r: r.created_at)]

    def reserved(self, tenant_id: str) -> Storage:
        coming = [row for row in self._rows.values() if row.tenant_id == tenant_id and row.status == "open"]
        return Storage(len(coming), sum(row.size_bytes for row in coming))

    def forget(self, ended_before: datetime, limit: int) -> int:
        with self._lock:
            old = [key for key, row in self._rows.items() if row.ended_at and row.ended_at < ended_before][:limit]
            for key in old:
                del self._rows[key]
            return len(old)


class FakeStoreOwners:
    """``StoreOwners`` of these tenants."""

    def __init__(self, *tenants: Tenant) -> None:
        self._tenants = tenants

    def owners(self, roots: Sequence[str]) -> dict[str, str]:
        return {tenant.storage_uri: tenant.id for tenant in self._tenants if tenant.storage_uri in roots}


class FakeObjectQueue:
    """``ObjectQueue`` that keeps what it was sent."""

    def __init__(self) -> None:
        self.places: list[ObjectLocation] = []
        self.away = False

    def send(self, places: Sequence[ObjectLocation]) -> None:
        if self.away:
            raise QueueUnavailable("away")
        self.places += places

    def received(self) -> list[ObjectLocation]:
        """What waits; then nothing does."""
        waiting, self.places = self.places, []
        return waiting


class MemoryUploads:
    """``ClientUploads``; ``send_part`` is what a client does with a part's URL."""

    def __init__(self, store: "MemoryStore") -> None:
        self._store = store
        self._parts: dict[str, dict[int, bytes]] = {}

    def form(self, key: str, max_bytes: int, expires: timedelta) -> FormPost:
        return FormPost("https://store.example/", {"key": checked(key), "max": str(max_bytes)}, _after(expires))

    def begin(self, key: str) -> str:
        checked(key)
        multipart_id = f"multipart-{len(self._parts) + 1}"
        self._parts[multipart_id] = {}
        return multipart_id

    def send_part(self, multipart_id: str, number: int, body: bytes) -> None:
        self._parts[multipart_id][number] = body

    def part_url(self, key: str, multipart_id: str, number: int, size_bytes: int, expires: timedelta) -> PartUrl:
        url = f"https://store.example/{checked(key)}?part={number}&of={multipart_id}"
        return PartUrl(number, url, size_bytes, _after(expires))

    def parts(self, key: str, multipart_id: str) -> list[Part]:
        checked(key)
        return [Part(n, len(body), str(n)) for n, body in sorted(self._parts.get(multipart_id, {}).items())]

    def join(self, key: str, multipart_id: str, parts: Sequence[Part]) -> None:
        sent = self._parts.pop(multipart_id)
        self._store.put(key, b"".join(sent[part.number] for part in parts), "application/octet-stream")

    def abort(self, key: str, multipart_id: str) -> None:
        self._parts.pop(multipart_id, None)


def _after(expires: timedelta) -> datetime:
    return datetime.now(UTC) + expires
