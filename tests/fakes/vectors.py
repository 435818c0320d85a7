"""A vector index in memory: the same promises as Qdrant, held to them by ``tests/integration/vectors``."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
from deeplens.errors import ModelMismatch, TransientError
from deeplens.tenants.model import Tenant
from deeplens.vectors.filters import point_id
from deeplens.vectors.ports import IndexedPoint, Match, Point, PointPage, SearchFilter

type Collection = dict[str, Point]


class FakeIndex:
    """``VectorIndex`` over dictionaries.

    Attributes
    ----------
    failure : raised by every call while it is set, e.g. ``IndexUnavailable()``.
    """

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self._collections: dict[str, tuple[int, Collection]] = {}

    def create_collection(self, tenant: Tenant) -> None:
        self._check_failure()
        size, _ = self._collections.setdefault(tenant.collection, (tenant.model.dimensions, {}))
        if size != tenant.model.dimensions:
            raise ModelMismatch(f"{tenant.collection} holds {size} values a vector")

    def exists(self, tenant: Tenant) -> bool:
        return tenant.collection in self._collections

    def drop_collection(self, tenant: Tenant) -> None:
        self._check_failure()
        self._collections.pop(tenant.collection, None)

    def upsert(self, tenant: Tenant, points: Sequence[Point]) -> None:
        if not points:
            return
        collection = self._collection(tenant, [len(point.vector) for point in points])
        for point in points:
            unit = _unit(point.vector).tolist()
            collection[point.image_id] = Point(point.image_id, unit, point.payload | {"tenant_id": tenant.id})

    def delete(self, tenant: Tenant, image_ids: Sequence[str]) -> None:
        self._check_failure()
        _, collection = self._collections.get(tenant.collection, (0, {}))
        for image_id in image_ids:
            collection.pop(image_id, None)

    def replace_payload(self, tenant: Tenant, image_id: str, payload: dict[str, Any]) -> None:
        collection = self._collection(tenant)
        if image_id in collection:
            owned = payload | {"tenant_id": tenant.id}
            collection[image_id] = Point(image_id, collection[image_id].vector, owned)

    def search(
        self,
        tenant: Tenant,
        vector: Sequence[float],
        *,
        limit: int,
        threshold: float | None = None,
        where: SearchFilter = SearchFilter(),
    ) -> list[Match]:
        collection, wanted = self._collection(tenant, [len(vector)]), _unit(vector)
        matches = [
            Match(point.image_id, float(np.clip(np.dot(point.vector, wanted), -1, 1)), point.payload)
            for point in collection.values()
            if _passes(point, where)
        ]
        lowest = -2.0 if threshold is None else threshold - 1e-6
        return sorted((m for m in matches if m.score >= lowest), key=lambda m: -m.score)[:limit]

    def neighbours(
        self, tenant: Tenant, wanted: Mapping[str, SearchFilter], *, limit: int, threshold: float
    ) -> dict[str, list[Match]]:
        known = {image_id: self.vector_of(tenant, image_id) for image_id in wanted}
        return {
            image_id: self.search(
                tenant,
                vector,
                limit=limit,
                threshold=threshold,
                where=replace(wanted[image_id], exclude_image_ids=(image_id,)),
            )
            for image_id, vector in known.items()
            if vector is not None
        }

    def vector_of(self, tenant: Tenant, image_id: str) -> list[float] | None:
        point = self._collection(tenant).get(image_id)
        return list(point.vector) if point else None

    def existing(self, tenant: Tenant, image_ids: Sequence[str]) -> set[str]:
        self._check_failure()
        return set(image_ids) & set(self._collections.get(tenant.collection, (0, {}))[1])

    def scroll(self, tenant: Tenant, start: str | None, limit: int) -> PointPage:
        self._check_failure()
        _, collection = self._collections.get(tenant.collection, (0, {}))
        listed = sorted((point_id(image_id), point.payload) for image_id, point in collection.items())
        behind = [(id_, payload) for id_, payload in listed if start is None or id_ >= start]
        points = tuple(IndexedPoint(i, p.get("image_id"), p.get("uploaded_at")) for i, p in behind[:limit])
        return PointPage(points, behind[limit][0] if len(behind) > limit else None)

    def delete_points(self, tenant: Tenant, point_ids: Sequence[str]) -> None:
        self._check_failure()
        _, collection = self._collections.get(tenant.collection, (0, {}))
        for image_id in [image_id for image_id in collection if point_id(image_id) in set(point_ids)]:
            del collection[image_id]

    def count(self, tenant: Tenant) -> int:
        return len(self._collection(tenant))

    def payload_of(self, tenant: Tenant, image_id: str) -> dict[str, Any]:
        """What a test wants to see of a point."""
        return self._collection(tenant)[image_id].payload

    def _collection(self, tenant: Tenant, lengths: Sequence[int] = ()) -> Collection:
        self._check_failure()
        if any(length != tenant.model.dimensions for length in lengths):
            raise ModelMismatch(f"{tenant.collection} takes {tenant.model.dimensions} values")
        if tenant.collection not in self._collections:
            raise TransientError(f"collection {tenant.collection} is missing")
        size, collection = self._collections[tenant.collection]
        if any(length != size for length in lengths):
            raise ModelMismatch(f"{tenant.collection} holds {size} values a vector")
        return collection

    def _check_failure(self) -> None:
        if self.failure:
            raise self.failure


def _unit(vector: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    values = np.asarray(vector, dtype=np.float64)
    return values / (np.linalg.norm(values) or 1.0)


def _passes(point: Point, where: SearchFilter) -> bool:
    metadata, uploaded_at = point.payload.get("metadata", {}), point.payload.get("uploaded_at")
    return (
        set(where.tags) <= set(point.payload.get("tags", ()))
        and all(key in metadata and _equal(metadata[key], value) for key, value in where.metadata.items())
        and _within(uploaded_at, where.uploaded_from, where.uploaded_before)
        and point.image_id not in where.exclude_image_ids
        and point.payload.get("video_id", "") not in where.exclude_video_ids
        and not (where.without_frames and "video_id" in point.payload)
    )


def _equal(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _within(moment: str | None, start: datetime | None, end: datetime | None) -> bool:
    if moment is None:
        return start is None and end is None
    at = datetime.fromisoformat(moment)
    return (start is None or at >= start) and (end is None or at < end)
