"""From vectors to live images and videos: the index proposes, the rows decide."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import chain

from deeplens.common.groups import grouped
from deeplens.images.model import ImageRecord, Step
from deeplens.images.ports import ImageRepository
from deeplens.tenants.model import Tenant
from deeplens.vectors.ports import Match, SearchFilter, VectorIndex

OVERFETCH, MAX_CANDIDATES = 8, 1000
MAX_FRAMES_PER_VIDEO = 10
type Hit = tuple[Match, ImageRecord]
type Group = list[Hit]
"""One image, or frames of one video, best first."""


class FindMatches:
    """Find the nearest live images and videos of a tenant; a video is one match, by its nearest frame.

    Points of deleted and failed images are dropped by their rows; ``OVERFETCH`` candidates make up for them.
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
        exclude_sha256: Collection[str] = (),
    ) -> list[Group]:
        """At most ``limit``, best first, each scored by the nearest of ``vectors``; without files of these digests."""
        candidates, hits = limit + OVERFETCH, list[Match]()
        while True:
            found = [
                self._index.search(tenant, vector, limit=candidates, threshold=threshold, where=where)
                for vector in vectors
            ]
            hits = best_of([hits, *found])
            groups = self._live(tenant, hits, exclude_sha256)
            exhausted = max(map(len, found)) < candidates
            if len(groups) >= limit or exhausted or candidates >= MAX_CANDIDATES:
                return groups[:limit]
            candidates = min(4 * candidates, MAX_CANDIDATES)
            # A long video of one scene would fill any list: its frames found so far are enough.
            videos = {row.video_id for group in groups for _, row in group if row.video_id}
            where = replace(where, exclude_video_ids=tuple(sorted({*where.exclude_video_ids, *videos})))

    def _live(self, tenant: Tenant, hits: Sequence[Match], exclude_sha256: Collection[str]) -> list[Group]:
        """Each live image alone, and frames by their video, in the order of the best of each group."""
        rows = self._images.find(tenant, [hit.image_id for hit in hits]) if hits else {}
        live = [(hit, row) for hit in hits if isinstance(row := rows.get(hit.image_id), ImageRecord)]
        kept = [(hit, row) for hit, row in live if row.step is not Step.FAILED and row.sha256 not in exclude_sha256]
        groups = grouped(kept, lambda found: found[1].video_id or found[1].id).values()
        return [group[:MAX_FRAMES_PER_VIDEO] for group in groups]


def best_of(found: Sequence[Sequence[Match]]) -> list[Match]:
    """Each image once, with its best score; best first."""
    best: dict[str, Match] = {}
    for match in chain.from_iterable(found):
        if match.image_id not in best or match.score > best[match.image_id].score:
            best[match.image_id] = match
    return sorted(best.values(), key=lambda match: -match.score)
