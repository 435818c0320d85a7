"""Stores and an index in dictionaries."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from deeplens.domain import Match, ObjectInfo, Point, SearchFilter, Tenant
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


class MemoryIndex:
    def __init__(self) -> None:
        self._points: dict[str, dict[str, Point]] = {}
        self.searches: list[int] = []

    def create_collection(self, tenant: Tenant) -> None:
        self._points.setdefault(tenant.collection, {})

    def upsert(self, tenant: Tenant, points: Sequence[Point]) -> None:
        self._points[tenant.collection].update({point.image_id: point for point in points})

    def replace_payload(self, tenant: Tenant, image_id: str, payload: dict[str, Any]) -> None:
        mine = self._points[tenant.collection]
        if image_id in mine:
            mine[image_id] = Point(image_id, mine[image_id].vector, payload)

    def search(
        self,
        tenant: Tenant,
        vector: Sequence[float],
        *,
        limit: int,
        threshold: float | None = None,
        where: SearchFilter = SearchFilter(),
    ) -> list[Match]:
        self.searches.append(limit)
        points = [point for point in self._points[tenant.collection].values() if _passes(point, where)]
        found = [Match(p.image_id, float(np.dot(p.vector, vector)), p.payload) for p in points]
        near = [match for match in found if threshold is None or match.score >= threshold]
        return sorted(near, key=lambda match: -match.score)[:limit]

    def vector_of(self, tenant: Tenant, image_id: str) -> list[float] | None:
        point = self._points[tenant.collection].get(image_id)
        return point.vector if point else None

    def payload(self, tenant: Tenant, image_id: str) -> dict[str, Any]:
        return self._points[tenant.collection][image_id].payload


def _passes(point: Point, where: SearchFilter) -> bool:
    payload = point.payload
    at = datetime.fromisoformat(payload["uploaded_at"])
    return (
        point.image_id not in where.exclude_image_ids
        and set(where.tags) <= set(payload["tags"])
        and all(payload["metadata"].get(key) == value for key, value in where.metadata.items())
        and (where.uploaded_from is None or at >= where.uploaded_from)
        and (where.uploaded_before is None or at < where.uploaded_before)
    )
