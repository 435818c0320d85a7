"""The port to the vector index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from deeplens.tenants.model import Tenant


@dataclass(frozen=True, slots=True)
class SearchFilter:
    """Payload filter of a search. ``metadata`` compares scalar values by equality; ``tags`` must all be present."""

    tags: tuple[str, ...] = ()
    metadata: dict[str, str | int | float | bool] = field(default_factory=dict)
    uploaded_from: datetime | None = None
    uploaded_before: datetime | None = None
    exclude_image_ids: tuple[str, ...] = ()
    exclude_video_ids: tuple[str, ...] = ()
    without_frames: bool = False


@dataclass(frozen=True, slots=True)
class Point:
    """A vector to index.

    Attributes
    ----------
    vector : float32 values, length = the collection's dimensions.
    payload : see ``deeplens.images.payload``.
    """

    image_id: str
    vector: list[float]
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Match:
    """A search hit; ``score`` is cosine similarity, -1..1."""

    image_id: str
    score: float
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class IndexedPoint:
    """A point as a collection lists it; ``image_id`` is None where its payload names none."""

    id: str
    image_id: str | None
    uploaded_at: str | None = None


@dataclass(frozen=True, slots=True)
class PointPage:
    """``following`` is the id that the next page starts with; None at the end."""

    points: tuple[IndexedPoint, ...]
    following: str | None = None


class VectorIndex(Protocol):
    """One collection per tenant and model version. Raises ``IndexUnavailable``.

    Point ids are derived from image ids, so that indexing an image again replaces its point.
    """

    def create_collection(self, tenant: Tenant) -> None:
        """Create the tenant's collection (cosine, its dimensions) with its payload indexes; safe to repeat."""

    def drop_collection(self, tenant: Tenant) -> None: ...

    def upsert(self, tenant: Tenant, points: Sequence[Point]) -> None:
        """Write points and wait until they are searchable. ``ModelMismatch`` when a vector has another length."""

    def delete(self, tenant: Tenant, image_ids: Sequence[str]) -> None:
        """Remove points and wait; missing ones, and a missing collection, are fine."""

    def replace_payload(self, tenant: Tenant, image_id: str, payload: dict[str, Any]) -> None:
        """Overwrite a point's payload and wait; a missing point is fine."""

    def search(
        self,
        tenant: Tenant,
        vector: Sequence[float],
        *,
        limit: int,
        threshold: float | None = None,
        where: SearchFilter = SearchFilter(),
    ) -> list[Match]:
        """Nearest points, best first, scores at least ``threshold``."""

    def neighbours(
        self, tenant: Tenant, wanted: Mapping[str, SearchFilter], *, limit: int, threshold: float
    ) -> dict[str, list[Match]]:
        """Nearest other points of several images, each within its filter, best first, by image id.

        Images without a point are absent. It sends two requests per hundred images.
        """

    def vector_of(self, tenant: Tenant, image_id: str) -> list[float] | None: ...

    def existing(self, tenant: Tenant, image_ids: Sequence[str]) -> set[str]:
        """Those of ``image_ids`` that have a point."""

    def scroll(self, tenant: Tenant, start: str | None, limit: int) -> PointPage:
        """At most ``limit`` points in the order of their ids, from ``start`` on; a missing collection has none."""

    def delete_points(self, tenant: Tenant, point_ids: Sequence[str]) -> None:
        """Remove points by their own ids and wait; missing ones, and a missing collection, are fine."""

    def count(self, tenant: Tenant) -> int: ...

    def ping(self, url: str) -> None:
        """Raise unless the index at ``url`` answers."""
