"""Duplicates in dictionaries: the same promises as PostgreSQL, held to them by ``tests/integration``."""

import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import combinations
from uuid import uuid4

from deeplens.duplicates.model import (
    REPEATED_WITHIN,
    Decision,
    Evidence,
    Group,
    Merge,
    Pair,
    Recorded,
    in_order,
    join,
    merge_id_of,
    pair_id,
    split,
    undo_until,
    united,
)
from deeplens.images.model import ImageRecord, Step
from deeplens.tenants.model import Tenant

from tests.fakes.db import FakeImages


@dataclass
class Kept:
    """What one tenant's database holds."""

    hashes: dict[str, int] = field(default_factory=dict)
    pairs: dict[str, Pair] = field(default_factory=dict)
    born: dict[str, datetime] = field(default_factory=dict)
    into: dict[str, str] = field(default_factory=dict)
    group_of: dict[str, str] = field(default_factory=dict)
    merges: dict[str, Merge] = field(default_factory=dict)


class FakeDuplicates:
    """``Duplicates`` beside the images of a ``FakeImages``."""

    def __init__(self, images: FakeImages) -> None:
        self._images, self._lock = images, threading.RLock()
        self._kept: dict[str, Kept] = defaultdict(Kept)

    def keep_hashes(self, tenant: Tenant, hashes: Mapping[str, int]) -> None:
        known = self._images.rows(tenant)
        self._kept[tenant.id].hashes |= {id_: value for id_, value in hashes.items() if id_ in known}

    def hashes(self, tenant: Tenant, image_ids: Collection[str]) -> dict[str, int]:
        return {id_: value for id_, value in self._kept[tenant.id].hashes.items() if id_ in image_ids}

    def images_with_same_bytes(self, tenant: Tenant, sha256s: Collection[str], limit: int) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for row in self._ordered(tenant):
            if row.sha256 in sha256s and row.step != Step.FAILED and len(found[row.sha256]) < limit:
                found[row.sha256].append(row.id)
        return {sha256: ids for sha256, ids in found.items() if ids}

    def reserve(self, tenant: Tenant, image_id: str) -> str | None:
        with self._lock:
            own = self._images.rows(tenant)[image_id]
            same = self.images_with_same_bytes(tenant, [own.sha256], 2).get(own.sha256, [])
            others = [other for other in same if other != image_id]
            if not others or own.step != Step.ACCEPTED:
                return None
            self._images.forget(tenant, image_id)
            return others[0]

    def save(self, tenant: Tenant, pairs: Sequence[Pair]) -> list[Pair]:
        with self._lock:
            kept, live = self._kept[tenant.id].pairs, self._images.rows(tenant)
            for pair in pairs:
                if {pair.first_id, pair.second_id} <= live.keys():
                    new = {"verdict": pair.verdict, "evidence": pair.evidence, "model": pair.model}
                    kept[pair.id] = replace(kept.get(pair.id, pair), **new)
            saved = [kept[pair.id] for pair in pairs if pair.id in kept]
            if saved:
                now = max(pair.found_at for pair in pairs)
                self._link(self._kept[tenant.id], self._loose(tenant, saved), now)
            return saved

    def record(self, tenant: Tenant, pair_ids: Collection[str], now: datetime) -> Recorded:
        with self._lock:
            kept, live = self._kept[tenant.id], self._images.rows(tenant)
            merges = [m for m in kept.merges.values() if m.pair_id in pair_ids and m.state != "undone"]
            pairs = [
                pair
                for pair in sorted(kept.pairs.values(), key=lambda pair: (pair.found_at, pair.id))
                if pair.id in pair_ids
                and pair.decision != "not-duplicate"
                and {pair.first_id, pair.second_id} <= live.keys()
            ]
            pairs = [replace(pair, recorded_at=pair.recorded_at or now) for pair in pairs]
            kept.pairs |= {pair.id: pair for pair in pairs}
            self._link(kept, [(pair.first_id, pair.second_id) for pair in pairs], now)
            groups = {pair.id: kept.group_of[pair.first_id] for pair in pairs}
            merges += self._merge_exact(tenant, pairs, now)
            groups |= {m.pair_id: m.group_id for m in merges if m.pair_id and m.group_id}
            lately = {
                id_ for id_, pair in kept.pairs.items() if pair.recorded_at and pair.recorded_at > now - REPEATED_WITHIN
            }
        return Recorded({id_: group for id_, group in groups.items() if id_ in lately}, merges)

    def _merge_exact(self, tenant: Tenant, pairs: Sequence[Pair], now: datetime) -> list[Merge]:
        if tenant.duplicates.action != "auto-merge-exact":
            return []
        tried = {merge.pair_id for merge in self._kept[tenant.id].merges.values()}
        undecided = [pair for pair in pairs if pair.verdict == "exact" and not pair.decision and pair.id not in tried]
        made = [self._merge_pair(tenant, pair, now) for pair in undecided]
        return [merge for merge in made if merge]

    def _merge_pair(self, tenant: Tenant, pair: Pair, now: datetime) -> Merge | None:
        roots = {self._root(tenant, pair.first_id), self._root(tenant, pair.second_id)}
        live = [row for id_, row in self._images.rows(tenant).items() if id_ in roots]
        if len(live) != 2 or live[0].sha256 != live[1].sha256:
            return None
        first, second = in_order(*live)
        until = undo_until(tenant.duplicates, now)
        return self.merge(
            tenant, Merge(merge_id_of(pair.id), None, first.id, (second.id,), now, until, "policy", pair_id=pair.id)
        )

    def _root(self, tenant: Tenant, image_id: str) -> str:
        found = self._images.find(tenant, [image_id]).get(image_id)
        into = getattr(found, "merged_into", None)
        return self._root(tenant, into) if into else image_id

    def pair(self, tenant: Tenant, one: str, other: str) -> Pair | None:
        return self._pairs(tenant).get(pair_id(one, other))

    def page(self, tenant: Tenant, limit: int, after: tuple[datetime, str] | None) -> list[Group]:
        kept = self._kept[tenant.id]
        groups = [self._group(tenant, group_id) for group_id in kept.born]
        shown = [g for g in groups if len(g.members) > 1 and (after is None or (g.created_at, g.id) < after)]
        return sorted(shown, key=lambda group: (group.created_at, group.id), reverse=True)[:limit]

    def group(self, tenant: Tenant, group_id: str) -> Group | None:
        kept = self._kept[tenant.id]
        while group_id in kept.into:
            group_id = kept.into[group_id]
        found = self._group(tenant, group_id) if group_id in kept.born else None
        return found if found and len(found.members) > 1 else None

    def _group(self, tenant: Tenant, group_id: str) -> Group:
        kept = self._kept[tenant.id]
        known = self._images.known(tenant)
        size = sum(1 for image, group in kept.group_of.items() if group == group_id and image in known)
        members = tuple(row for row in self._ordered(tenant) if kept.group_of.get(row.id) == group_id)
        ids = {row.id for row in members}
        pairs = [pair for pair in self._pairs(tenant).values() if {pair.first_id, pair.second_id} <= ids]
        ordered = tuple(sorted(pairs, key=lambda pair: (pair.found_at, pair.id)))
        return Group(group_id, kept.born[group_id], size, members, ordered)

    def decide(self, tenant: Tenant, image_ids: Sequence[str], decision: Decision, by: str, now: datetime) -> None:
        with self._lock:
            live = [row for id_, row in self._images.rows(tenant).items() if id_ in image_ids]
            self._decide(self._kept[tenant.id], live, decision, by, now)

    def _decide(self, kept: Kept, rows: Iterable[ImageRecord], decision: Decision, by: str, now: datetime) -> None:
        ordered = [in_order(*two) for two in combinations(rows, 2)]
        for first, second in ordered:
            id_, evidence = pair_id(first.id, second.id), Evidence(first.sha256 == second.sha256)
            known = kept.pairs.get(id_, Pair(id_, first.id, second.id, None, evidence, "", now))
            kept.pairs[id_] = replace(known, decision=decision, decided_at=now, decided_by=by)
        links = [(first.id, second.id) for first, second in ordered]
        if decision == "duplicate":
            self._link(kept, links, now)
            return
        for group_id in sorted({kept.group_of[id_] for link in links for id_ in link if id_ in kept.group_of}):
            self._divide(kept, group_id, now)

    def _divide(self, kept: Kept, group_id: str, now: datetime) -> None:
        members = {image for image, group in kept.group_of.items() if group == group_id}
        links = [
            (pair.first_id, pair.second_id)
            for pair in kept.pairs.values()
            if pair.decision != "not-duplicate" and (pair.recorded_at or pair.decision == "duplicate")
        ]
        parts = split(members, links)
        for image in members:
            del kept.group_of[image]
        for number, part in enumerate(parts):
            target = group_id if number == 0 else self._new_group(kept, now)
            kept.group_of |= dict.fromkeys(part, target)

    def _link(self, kept: Kept, links: Sequence[tuple[str, str]], now: datetime) -> None:
        for one in join(links, kept.group_of, kept.born):
            target = one.group_id or self._new_group(kept, now)
            kept.group_of |= dict.fromkeys(one.members, target)
            for old in one.absorbed:
                kept.into[old] = target
                kept.group_of = {image: target if g == old else g for image, g in kept.group_of.items()}

    def _loose(self, tenant: Tenant, pairs: Iterable[Pair]) -> list[tuple[str, str]]:
        """What was recorded, is live and yet in no common group."""
        kept, live = self._kept[tenant.id], self._images.rows(tenant)
        return [
            (pair.first_id, pair.second_id)
            for pair in sorted(pairs, key=lambda pair: (pair.found_at, pair.id))
            if pair.decision != "not-duplicate"
            and (pair.recorded_at or pair.decision == "duplicate")
            and {pair.first_id, pair.second_id} <= live.keys()
            and (
                pair.first_id not in kept.group_of or kept.group_of[pair.first_id] != kept.group_of.get(pair.second_id)
            )
        ]

    @staticmethod
    def _new_group(kept: Kept, now: datetime) -> str:
        made = f"dup_{uuid4().hex}"
        kept.born[made] = now
        return made

    def merge(self, tenant: Tenant, planned: Merge) -> Merge | None:
        with self._lock:
            kept, live = self._kept[tenant.id], self._images.rows(tenant)
            against = {pair.id for pair in kept.pairs.values() if pair.decision == "not-duplicate"}
            others = [
                live[id_] for id_ in planned.merged_ids if id_ in live and pair_id(id_, planned.kept_id) not in against
            ]
            if planned.kept_id not in live or not others:
                return None
            image = live[planned.kept_id]
            tags, metadata = united(image, others)
            before = {}
            if (tags, metadata) != (image.tags, image.metadata):
                changed = self._images.amend(tenant, image.id, tags=tags, metadata=metadata)
                assert changed
                before = {"tags": list(image.tags), "metadata": image.metadata, "revision": changed.revision}
            for other in others:
                self._images.mark_deleted(tenant, other.id, planned.merged_at, into=image.id)
                kept.group_of.pop(other.id, None)
            ids = tuple(sorted(other.id for other in others))
            group_id = kept.group_of.get(image.id, planned.group_id)
            kept.merges[planned.id] = replace(planned, merged_ids=ids, group_id=group_id, before=before)
            return kept.merges[planned.id]

    def merge_of(self, tenant: Tenant, merge_id: str) -> Merge | None:
        return self._kept[tenant.id].merges.get(merge_id)

    def last_merge(self, tenant: Tenant, group_id: str, kept_id: str) -> Merge | None:
        mine = [
            merge
            for merge in self._kept[tenant.id].merges.values()
            if (merge.group_id, merge.kept_id) == (group_id, kept_id) and merge.state != "undone"
        ]
        return max(mine, key=lambda merge: (merge.merged_at, merge.id), default=None)

    def merges(self, tenant: Tenant, limit: int, after: tuple[datetime, str] | None) -> list[Merge]:
        found = [m for m in self._kept[tenant.id].merges.values() if after is None or (m.merged_at, m.id) < after]
        return sorted(found, key=lambda merge: (merge.merged_at, merge.id), reverse=True)[:limit]

    def undo(self, tenant: Tenant, merge_id: str, now: datetime) -> Merge | None:
        with self._lock:
            kept, done = self._kept[tenant.id], self.merge_of(tenant, merge_id)
            if done is None or done.state == "undone":
                return done
            if done.state != "merged" or now >= done.undo_until:
                return None
            kept.merges[merge_id] = replace(done, state="undone")
            revived = [id_ for id_ in done.merged_ids if self._images.revive(tenant, id_, done.kept_id)]
            live = self._images.rows(tenant)
            image = live.get(done.kept_id)
            if image and done.before and image.revision == done.before["revision"]:
                self._images.amend(tenant, image.id, tags=done.before["tags"], metadata=done.before["metadata"])
            for id_ in revived if image else ():
                self._decide(kept, [live[done.kept_id], live[id_]], "duplicate", "undo", now)
            theirs = [pair for pair in kept.pairs.values() if not {pair.first_id, pair.second_id}.isdisjoint(revived)]
            self._link(kept, self._loose(tenant, theirs), now)
            return kept.merges[merge_id]

    def settle(self, tenant: Tenant, merge_id: str, now: datetime) -> Merge | None:
        with self._lock:
            done = self.merge_of(tenant, merge_id)
            if done is None or done.state == "undone" or done.undo_until > now:
                return None
            self._kept[tenant.id].merges[merge_id] = replace(done, state="settled")
            return self.merge_of(tenant, merge_id)

    def _ordered(self, tenant: Tenant) -> list[ImageRecord]:
        return sorted(self._images.rows(tenant).values(), key=lambda row: (row.uploaded_at, row.id))

    def _pairs(self, tenant: Tenant) -> dict[str, Pair]:
        """Those whose images have not been erased."""
        known = self._images.known(tenant)
        pairs = self._kept[tenant.id].pairs
        return {id_: pair for id_, pair in pairs.items() if {pair.first_id, pair.second_id} <= known}


class FakeMergeDeadlines:
    """``MergeDeadlines`` in a dictionary; every tenant is active."""

    def __init__(self) -> None:
        self.due: dict[tuple[str, str], datetime] = {}

    def add(self, deadlines: Sequence[tuple[str, str, datetime]]) -> None:
        for tenant_id, merge_id, due in deadlines:
            self.due.setdefault((tenant_id, merge_id), due)

    def overdue(self, now: datetime, due: datetime, limit: int) -> list[tuple[str, str]]:
        late = sorted((key for key, at in self.due.items() if at <= now), key=lambda key: self.due[key])[:limit]
        self.due |= dict.fromkeys(late, due)
        return late

    def done(self, tenant_id: str, merge_ids: Collection[str]) -> None:
        for merge_id in merge_ids:
            self.due.pop((tenant_id, merge_id), None)
