"""Stores in dictionaries."""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from deeplens.domain import ObjectInfo, Tenant
from deeplens.errors import ObjectNotFound


class MemoryStore:
    def __init__(self, root: str) -> None:
        self._root = root
        self.objects: dict[str, tuple[bytes, str]] = {}
        self.failure: Exception | None = None

    def ensure(self) -> None: ...

    def put(self, key: str, body: Any, content_type: str) -> None:
        if self.failure:
            raise self.failure
        self.objects[key] = (body if isinstance(body, bytes) else body.read(), content_type)

    def get(self, key: str) -> bytes:
        if self.failure:
            raise self.failure
        if key not in self.objects:
            raise ObjectNotFound(f"no object {key}")
        return self.objects[key][0]

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.objects.pop(key, None)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        for key, (body, content_type) in sorted(self.objects.items()):
            if key.startswith(prefix):
                etag = hashlib.md5(body).hexdigest()
                yield ObjectInfo(key, len(body), content_type, etag, datetime.now(UTC))

    def presign_get(self, key: str, expires: timedelta) -> str:
        return f"https://store.example/{key}?expires={int(expires.total_seconds())}"

    def uri(self, key: str) -> str:
        return f"{self._root}/{key}"

    def key_of(self, uri: str) -> str:
        return uri.removeprefix(f"{self._root}/")


class MemoryStores:
    def __init__(self) -> None:
        self._stores: dict[str, MemoryStore] = {}

    def for_tenant(self, tenant: Tenant) -> MemoryStore:
        return self._stores.setdefault(tenant.id, MemoryStore(tenant.storage_uri))
