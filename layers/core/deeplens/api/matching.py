"""From vectors to live images: the index finds, the rows decide."""

from collections.abc import Collection, Sequence
from itertools import chain

from deeplens.domain import ImageRecord, Match, SearchFilter, Step, Tenant
from deeplens.ports import ImageRepository, VectorIndex

SPARE, MOST = 8, 1000


class FindMatches:
    """Nearest live images of a tenant.

    Points of images deleted a moment ago are dropped by their tombstones, and those of images that failed behind the
    index; a few more than asked for make up for them.
    """

    def __init__(self, index: VectorIndex, images: ImageRepository) -> None:
        self._index, self._images = index, images

    def __call__(
        self,
        tenant: Tenant,
        vectors: Sequence[Sequence[float]],
        limit: int,
        threshold: float | None,
        where: SearchFilter,
        unlike: Collection[str] = (),
    ) -> list[tuple[Match, ImageRecord]]:
        """At most ``limit`` pairs, best first, each by the nearest of ``vectors``.

        Parameters
        ----------
        unlike : SHA-256 digests of files that are left out.
        """
        asked = limit + SPARE
        while True:
            found = [self._index.search(tenant, one, limit=asked, threshold=threshold, where=where) for one in vectors]
            live = self._live(tenant, best_of(found)[:asked], unlike)
            exhausted = max(len(hits) for hits in found) < asked
            if len(live) >= limit or exhausted or asked >= MOST:
                return live[:limit]
            asked = min(4 * asked, MOST)

    def _live(self, tenant: Tenant, hits: Sequence[Match], unlike: Collection[str]) -> list[tuple[Match, ImageRecord]]:
        rows = self._images.find(tenant, [hit.image_id for hit in hits]) if hits else {}
        live = [(hit, row) for hit in hits if isinstance(row := rows.get(hit.image_id), ImageRecord)]
        return [(hit, row) for hit, row in live if row.step is not Step.FAILED and row.sha256 not in unlike]


def best_of(found: Sequence[Sequence[Match]]) -> list[Match]:
    """Each image once, with its best score; best first."""
    best: dict[str, Match] = {}
    for match in chain.from_iterable(found):
        if match.image_id not in best or match.score > best[match.image_id].score:
            best[match.image_id] = match
    return sorted(best.values(), key=lambda match: -match.score)
