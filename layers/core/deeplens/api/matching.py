"""From a vector to live images: the index finds, the rows decide."""

from collections.abc import Sequence

from deeplens.domain import ImageRecord, Match, SearchFilter, Tenant
from deeplens.ports import ImageRepository, VectorIndex

SPARE, MOST = 8, 1000


class FindMatches:
    """Nearest live images of a tenant.

    Points of images deleted a moment ago are dropped by their tombstones; a few more than asked for make up for them.
    """

    def __init__(self, index: VectorIndex, images: ImageRepository) -> None:
        self._index, self._images = index, images

    def __call__(
        self, tenant: Tenant, vector: Sequence[float], limit: int, threshold: float | None, where: SearchFilter
    ) -> list[tuple[Match, ImageRecord]]:
        """At most ``limit`` pairs, best first."""
        asked = limit + SPARE
        while True:
            hits = self._index.search(tenant, vector, limit=asked, threshold=threshold, where=where)
            live = self._live(tenant, hits)
            if len(live) >= limit or len(hits) < asked or asked >= MOST:
                return live[:limit]
            asked = min(4 * asked, MOST)

    def _live(self, tenant: Tenant, hits: Sequence[Match]) -> list[tuple[Match, ImageRecord]]:
        rows = self._images.find(tenant, [hit.image_id for hit in hits]) if hits else {}
        return [(hit, row) for hit in hits if isinstance(row := rows.get(hit.image_id), ImageRecord)]
