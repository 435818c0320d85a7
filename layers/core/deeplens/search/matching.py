"""From vectors to live images and videos: the index finds, the rows decide."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import chain

from deeplens.images.model import ImageRecord, Step
from deeplens.images.ports import ImageRepository
from deeplens.tenants.model import Tenant
from deeplens.vectors.ports import Match, SearchFilter, VectorIndex

SPARE, MOST = 8, 1000
FRAMES_SHOWN = 10
type Found = list[tuple[Match, ImageRecord]]
"""One image, or frames of one video, best first."""


class FindMatches:
    """Nearest live images and videos of a tenant; a video is one match, by its nearest frame.

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
    ) -> list[Found]:
        """At most ``limit``, best first, each by the nearest of ``vectors``.

        Parameters
        ----------
        unlike : SHA-256 digests of files that are left out.
        """
        asked, hits = limit + SPARE, list[Match]()
        while True:
            found = [self._index.search(tenant, one, limit=asked, threshold=threshold, where=where) for one in vectors]
            hits = best_of([hits, *found])
            matches = grouped(self._live(tenant, hits, unlike))
            exhausted = max(len(one) for one in found) < asked
            if len(matches) >= limit or exhausted or asked >= MOST:
                return matches[:limit]
            asked = min(4 * asked, MOST)
            # A long film of one view would fill any list: what is found of it is enough.
            videos = {row.video_id for one in matches for _, row in one if row.video_id}
            where = replace(where, exclude_video_ids=tuple(sorted({*where.exclude_video_ids, *videos})))

    def _live(self, tenant: Tenant, hits: Sequence[Match], unlike: Collection[str]) -> list[tuple[Match, ImageRecord]]:
        rows = self._images.find(tenant, [hit.image_id for hit in hits]) if hits else {}
        live = [(hit, row) for hit in hits if isinstance(row := rows.get(hit.image_id), ImageRecord)]
        return [(hit, row) for hit, row in live if row.step is not Step.FAILED and row.sha256 not in unlike]


def grouped(live: Sequence[tuple[Match, ImageRecord]]) -> list[Found]:
    """Images each for itself, frames by their video, in the order of the best of each."""
    groups: dict[str, Found] = {}
    for hit, row in live:
        groups.setdefault(row.video_id or row.id, []).append((hit, row))
    return [frames[:FRAMES_SHOWN] for frames in groups.values()]


def best_of(found: Sequence[Sequence[Match]]) -> list[Match]:
    """Each image once, with its best score; best first."""
    best: dict[str, Match] = {}
    for match in chain.from_iterable(found):
        if match.image_id not in best or match.score > best[match.image_id].score:
            best[match.image_id] = match
    return sorted(best.values(), key=lambda match: -match.score)
