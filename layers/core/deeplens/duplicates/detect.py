"""deeplens.processing.completed → pairs of duplicates, with their evidence → deeplens.duplicates.found"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar, TypeGuard

from deeplens.common.ids import event_id
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Outcome, followed_by, merge
from deeplens.duplicates.model import Duplicates, Pair, evidence_of, in_order, pair_id, verdict_of
from deeplens.events.duplicates import DuplicateMatch, DuplicatesFound
from deeplens.events.images import ProcessingCompleted
from deeplens.images.current import split_current
from deeplens.images.model import ImageRecord, Step, Tombstone
from deeplens.images.ports import ImageRepository
from deeplens.tenants.batch import by_tenant
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory
from deeplens.vectors.ports import SearchFilter, VectorIndex

MAX_NEIGHBOURS, MAX_SAME_BYTES = 32, 8
"""Candidates per image. Larger groups still form, since each member is near some of the others."""
type Scores = dict[frozenset[str], float]


@dataclass(frozen=True)
class FindPairs:
    """Compare images with their nearest neighbours and with those of the same bytes, in a few requests for all.

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
        candidates = self.images.find(tenant, ids)
        compared = {image_id: row for image_id, row in candidates.items() if is_compared(row, tenant)}
        hashes = self.duplicates.hashes(tenant, ids)
        couples = [in_order(*map(compared.__getitem__, link)) for link in links if link <= compared.keys()]
        pairs = [self._pair(tenant, first, second, scores, hashes) for first, second in couples]
        return [pair for pair in pairs if pair is not None]

    def _scores(self, tenant: Tenant, rows: Sequence[ImageRecord]) -> Scores:
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
        return {
            frozenset((image_id, match.image_id)): match.score
            for image_id, matches in near.items()
            for match in matches
        }

    def _pair(
        self, tenant: Tenant, first: ImageRecord, second: ImageRecord, scores: Scores, hashes: dict[str, int]
    ) -> Pair | None:
        if first.video_id is not None and first.video_id == second.video_id:
            return None
        evidence, comparable = evidence_of(first, second, scores.get(frozenset((first.id, second.id))), hashes)
        verdict = verdict_of(evidence, comparable, tenant.thresholds)
        if verdict is None:
            return None
        model = f"{tenant.model.name} {tenant.model.version}"
        return Pair(pair_id(first.id, second.id), first.id, second.id, verdict, evidence, model, self.clock.now())


@dataclass(frozen=True)
class DetectDuplicates:
    """Find copies and near-duplicates of images that have become searchable, within their tenant.

    Consumes ``ProcessingCompleted``, emits a ``DuplicatesFound`` per unordered pair, with the same id whichever image
    finds the other. A repeat emits it again until it is recorded; pairs decided to be no duplicates are left alone.
    """

    name: ClassVar = "detect"
    consumes: ClassVar = ProcessingCompleted

    tenants: TenantDirectory
    images: ImageRepository
    duplicates: Duplicates
    find_pairs: FindPairs

    def __call__(self, batch: Sequence[ProcessingCompleted]) -> list[Outcome]:
        return by_tenant(batch, self.tenants, self._detect_tenant)

    def _detect_tenant(self, tenant: Tenant, batch: Sequence[ProcessingCompleted]) -> list[Outcome]:
        work, ended = split_current(batch, self.images.find(tenant, [event.image_id for event in batch]))
        pairs = self.duplicates.save(tenant, self.find_pairs(tenant, [row for _, row in work]))
        outcomes = merge(len(batch), ended, [Done()] * len(work))
        return followed_by(outcomes, list(found_events(tenant, pairs)))


def is_searchable(row: ImageRecord | Tombstone | None) -> TypeGuard[ImageRecord]:
    return isinstance(row, ImageRecord) and row.step in (Step.INDEXED, Step.COMPLETED)


def is_compared(row: ImageRecord | Tombstone | None, tenant: Tenant) -> TypeGuard[ImageRecord]:
    """Whether an image is compared; frames of videos only if the tenant's review includes them."""
    return is_searchable(row) and (row.video_id is None or tenant.video.in_duplicate_review)


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
