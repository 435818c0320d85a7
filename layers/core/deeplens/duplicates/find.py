"""Finding the duplicates of given images: a few requests, however many images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from deeplens.common.ids import event_id
from deeplens.common.ports import Clock
from deeplens.duplicates.model import Duplicates, Pair, evidence_of, in_order, pair_id, verdict_of
from deeplens.events.duplicates import DuplicateMatch, DuplicatesFound
from deeplens.images.model import ImageRecord, Step
from deeplens.images.ports import ImageRepository
from deeplens.tenants.model import Tenant
from deeplens.vectors.ports import SearchFilter, VectorIndex

MAX_NEIGHBOURS, MAX_SAME_BYTES = 32, 8
"""Candidates per image. Larger groups still form, since each member is near some of the others."""


@dataclass(frozen=True)
class FindPairs:
    """Compare images with their nearest neighbours and with those of the same bytes.

    Only searchable images count: of two that arrive at once, the one that becomes searchable later finds the other.
    """

    images: ImageRepository
    index: VectorIndex
    duplicates: Duplicates
    clock: Clock

    def __call__(self, tenant: Tenant, rows: Sequence[ImageRecord]) -> list[Pair]:
        """Each unordered pair once; nothing is stored."""
        rows = [row for row in rows if is_compared(row, tenant)]
        if not rows:
            return []
        scores = self._scores(tenant, rows)
        same_bytes = self.duplicates.images_with_same_bytes(tenant, {row.sha256 for row in rows}, MAX_SAME_BYTES)
        links = {
            frozenset((row.id, other)) for row in rows for other in same_bytes.get(row.sha256, ()) if other != row.id
        }
        links |= scores.keys()
        ids = sorted(set(chain.from_iterable(links)))
        known = self.images.find(tenant, ids)
        hashes = self.duplicates.hashes(tenant, ids)
        return [
            pair
            for one, other in map(sorted, links)
            if (pair := self._pair(tenant, known.get(one), known.get(other), scores, hashes)) is not None
        ]

    def _scores(self, tenant: Tenant, rows: Sequence[ImageRecord]) -> dict[frozenset[str], float]:
        """Cosines of pairs that the model finds at least similar."""
        if tenant.thresholds is None:
            return {}
        # A frame's nearest neighbours are those beside it in its video.
        with_frames = tenant.video.in_duplicate_review
        filters = {
            row.id: SearchFilter(exclude_video_ids=tuple(filter(None, [row.video_id])), without_frames=not with_frames)
            for row in rows
        }
        near = self.index.neighbours(tenant, filters, limit=MAX_NEIGHBOURS, threshold=tenant.thresholds.similar)
        return {frozenset((one, match.image_id)): match.score for one, found in near.items() for match in found}

    def _pair(
        self, tenant: Tenant, one: Any, other: Any, scores: dict[frozenset[str], float], hashes: dict[str, int]
    ) -> Pair | None:
        if not (is_compared(one, tenant) and is_compared(other, tenant)) or of_one_video(one, other):
            return None
        first, second = in_order(one, other)
        evidence, comparable = evidence_of(first, second, scores.get(frozenset((one.id, other.id))), hashes)
        verdict = verdict_of(evidence, comparable, tenant.thresholds)
        if verdict is None:
            return None
        model = f"{tenant.model.name} {tenant.model.version}"
        return Pair(pair_id(one.id, other.id), first.id, second.id, verdict, evidence, model, self.clock.now())


def is_searchable(row: object) -> bool:
    return isinstance(row, ImageRecord) and row.step in (Step.INDEXED, Step.COMPLETED)


def is_compared(row: object, tenant: Tenant) -> bool:
    """Whether an image is compared; frames of videos only if the tenant's review includes them."""
    return is_searchable(row) and (getattr(row, "video_id", None) is None or tenant.video.in_duplicate_review)


def of_one_video(one: ImageRecord, other: ImageRecord) -> bool:
    return one.video_id is not None and one.video_id == other.video_id


def found_events(tenant: Tenant, pairs: Sequence[Pair]) -> Iterator[DuplicatesFound]:
    """The event of each pair that is not recorded yet, or that a newer policy may merge; none for decided pairs."""
    merging = tenant.duplicates.action == "auto-merge-exact"
    for pair in pairs:
        open_to_policy = merging and pair.verdict == "exact" and pair.decision is None
        if pair.verdict is None or pair.decision == "not-duplicate" or (pair.recorded_at and not open_to_policy):
            continue
        evidence = pair.evidence
        match = DuplicateMatch(
            image_id=pair.first_id,
            score=1.0 if evidence.score is None else evidence.score,
            verdict=pair.verdict,
            pair_id=pair.id,
            hash_distance=evidence.hash_distance,
            aspect_ratio=evidence.aspect_ratio,
            pixel_ratio=evidence.pixel_ratio,
        )
        yield DuplicatesFound(
            event_id=event_id("duplicate-pair", tenant.id, pair.id),
            tenant_id=tenant.id,
            image_id=pair.second_id,
            duplicates=[match],
            found_at=pair.found_at,
        )
