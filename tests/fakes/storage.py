"""Stores in dictionaries, held to the same suite as the real ones."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from deeplens.errors import InvalidEvent, ObjectNotFound
from deeplens.storage.keys import Bucket, checked, checked_prefix, store_id_of
from deeplens.storage.ports import ObjectInfo
from deeplens.stores.model import TenantStore
from deeplens.tenants.model import Tenant

from tests.fakes.uploads import MemoryUploads


class MemoryStore(Bucket):
    """``ObjectStore``; ``failure`` makes every access fail with it, ``now`` is when objects are written.

    ``mark`` is that of the installation that owns the bucket, ``"ours"`` being this one.
    """

    def __init__(self, root: str) -> None:
        super().__init__(root, "ours")
        self._objects: dict[str, tuple[bytes, str, datetime]] = {}
        self._uploads = MemoryUploads(self)
        self.mark: str | None = "ours"
        self.failure: Exception | None = None
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def ensure(self) -> None:
        self._reach()

    def require_ours(self) -> None:
        self._reach()
        self._check_mark(self.mark)

    def adopt(self, replacing: str = "") -> None:
        if self.mark not in (None, replacing):
            self.require_ours()
        self.mark = "ours"

    def remove(self) -> None:
        self.require_ours()

    def put(self, key: str, body: Any, content_type: str) -> None:
        self._reach()
        whole = body if isinstance(body, bytes) else body.read()
        self._objects[checked(key)] = (whole, content_type, self.now())

    def get(self, key: str) -> bytes:
        return self._object(key)[0]

    def get_range(self, key: str, start: int, length: int) -> bytes:
        return self.get(key)[start : start + length]

    def head(self, key: str) -> ObjectInfo:
        body, content_type, modified_at = self._object(key)
        return ObjectInfo(key, len(body), content_type, hashlib.md5(body).hexdigest(), modified_at)

    def delete(self, keys: Iterable[str]) -> None:
        self._reach()
        for key in keys:
            self._objects.pop(checked(key), None)

    def list(self, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        self._reach()
        checked_prefix(prefix)
        for key in sorted(self._objects):
            if key.startswith(prefix) and key > after:
                yield self.head(key)

    def copy(self, source: str, target: str, content_type: str = "") -> None:
        body, own_type, _ = self._object(source)
        self.put(target, body, content_type or own_type)

    def presign_get(self, key: str, expires: timedelta) -> str:
        return f"https://store.example/{checked(key)}?expires={int(expires.total_seconds())}"

    def uploads(self) -> MemoryUploads:
        return self._uploads

    def _object(self, key: str) -> tuple[bytes, str, datetime]:
        self._reach()
        if checked(key) not in self._objects:
            raise ObjectNotFound(f"no object {key}")
        return self._objects[key]

    def _reach(self) -> None:
        if self.failure:
            raise self.failure


class MemoryStores:
    """``StoreResolver``: one store per tenant, and those that ``add`` registered."""

    def __init__(self) -> None:
        self._stores: dict[str, MemoryStore] = {}
        self._registered: dict[tuple[str, str], MemoryStore] = {}

    def add(self, store: TenantStore) -> MemoryStore:
        return self._registered.setdefault((store.tenant_id, store.root), MemoryStore(store.root))

    def holding(self, tenant: Tenant, uri: str) -> MemoryStore:
        if store_id_of(uri) is None:
            return self.for_tenant(tenant)
        root = uri[: uri.index("/", uri.index("://") + 3)]
        if (tenant.id, root) not in self._registered:
            raise InvalidEvent("the storage path lies outside the tenant's stores")
        return self._registered[tenant.id, root]

    def registered(self, tenant: Tenant, store: TenantStore) -> MemoryStore:
        return self.holding(tenant, f"{store.root}/")

    def for_tenant(self, tenant: Tenant) -> MemoryStore:
        return self._stores.setdefault(tenant.id, MemoryStore(tenant.storage_uri))
