"""What detection, review and merging rely on in ``Duplicates``, of the fake as of PostgreSQL."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from deeplens.database.connections import Connections
from deeplens.duplicates import postgres_changes as changes
from deeplens.duplicates.model import (
    Duplicates,
    DuplicateVerdict,
    Evidence,
    Merge,
    MergeDeadlines,
    Pair,
    Recorded,
    in_order,
    pair_id,
)
from deeplens.duplicates.postgres import PostgresDuplicates, PostgresMergeDeadlines
from deeplens.images.model import ImageRecord, Step, Tombstone
from deeplens.images.ports import ImageRepository
from deeplens.images.postgres import PostgresImages
from deeplens.tenants.model import DuplicatePolicy, Tenant

from tests.fakes.db import FakeImages
from tests.fakes.duplicates import FakeDuplicates, FakeMergeDeadlines
from tests.integration.conftest import NewTenant
from tests.integration.images.test_postgres import NOON, new_image, reached

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
A, B, C, D = ("img_a", "img_b", "img_c", "img_d")


@dataclass
class Library:
    """A tenant's images and their duplicates."""

    tenant: Tenant
    images: ImageRepository
    duplicates: Duplicates

    def add(self, *image_ids: str, **changes: Any) -> None:
        """Searchable images, each a minute younger than the one before."""
        for number, image_id in enumerate(image_ids):
            self.images.insert(self.tenant, new_image(image_id, uploaded_at=NOON + number * MINUTE, **changes))
            self.images.advance(self.tenant, [reached(Step.COMPLETED, image_id)])

    def row(self, image_id: str) -> ImageRecord:
        found = self.images.find(self.tenant, [image_id])[image_id]
        assert isinstance(found, ImageRecord)
        return found

    def found(self, one: str, other: str, verdict: DuplicateVerdict = "near") -> Pair:
        first, second = in_order(self.row(one), self.row(other))
        return Pair(pair_id(one, other), first.id, second.id, verdict, Evidence(False, 0.9, 3, 1.0, 0.5), "m 1", NOON)

    def record(self, *pairs: tuple[str, str], verdict: DuplicateVerdict = "near") -> Recorded:
        kept = self.duplicates.save(self.tenant, [self.found(*pair, verdict) for pair in pairs])
        return self.duplicates.record(self.tenant, [pair.id for pair in kept], NOON)

    def groups(self) -> dict[str, set[str]]:
        return {
            group.id: {image.id for image in group.members} for group in self.duplicates.page(self.tenant, 99, None)
        }

    def live(self) -> set[str]:
        found = self.images.find(self.tenant, [A, B, C, D])
        return {image_id for image_id, row in found.items() if isinstance(row, ImageRecord)}

    def policy(self, policy: DuplicatePolicy) -> None:
        self.tenant = replace(self.tenant, duplicates=policy)


@pytest.fixture(params=["fake", "postgres"])
def library(request: pytest.FixtureRequest, tenant: Tenant) -> Library:
    if request.param == "fake":
        images = FakeImages()
        return Library(tenant, images, FakeDuplicates(images))
    connections: Connections = request.getfixturevalue("connections")
    return Library(tenant, PostgresImages(connections), PostgresDuplicates(connections))


def merge_of(library: Library, kept: str, *merged: str, until: Any = NOON + DAY) -> Merge:
    done = library.duplicates.merge(library.tenant, Merge(f"mrg_{kept}", None, kept, merged, NOON, until, "key:1"))
    assert done
    return done


def test_hashes_of_64_bits_read_back_and_unknown_images_are_ignored(library: Library) -> None:
    library.add(A, B)
    given = {A: (1 << 64) - 1, B: 1 << 63, "img_unknown": 7}
    library.duplicates.keep_hashes(library.tenant, given)
    assert library.duplicates.hashes(library.tenant, [A, B, "img_unknown"]) == {A: given[A], B: given[B]}
    library.duplicates.keep_hashes(library.tenant, {A: 5})
    assert library.duplicates.hashes(library.tenant, [A]) == {A: 5}


def test_twins_are_the_oldest_live_images_of_the_same_bytes(library: Library) -> None:
    library.add(A, B, C)
    library.add(D, sha256="cd" * 32)
    library.images.mark_deleted(library.tenant, A, NOON)
    found = library.duplicates.images_with_same_bytes(library.tenant, {"ab" * 32, "cd" * 32, "ef" * 32}, 1)
    assert found == {"ab" * 32: [B], "cd" * 32: [D]}


def test_an_accepted_image_gives_way_to_one_of_the_same_bytes(library: Library) -> None:
    library.images.insert(library.tenant, new_image(A))
    assert library.duplicates.reserve(library.tenant, A) is None
    library.images.insert(library.tenant, new_image(B))
    assert library.duplicates.reserve(library.tenant, B) == A
    assert library.images.find(library.tenant, [A, B]).keys() == {A}
    assert library.duplicates.reserve(library.tenant, A) is None


def test_a_pair_is_kept_once_with_its_newest_evidence(library: Library) -> None:
    library.add(A, B)
    pair = library.found(B, A)
    assert library.duplicates.save(library.tenant, [pair]) == [pair]
    assert (pair.first_id, pair.second_id) == (A, B)
    library.duplicates.record(library.tenant, [pair.id], NOON)
    again = replace(pair, verdict="re-encoded", evidence=Evidence(False, 0.99, 1), model="m 2", found_at=NOON + DAY)
    assert library.duplicates.save(library.tenant, [again]) == [replace(again, found_at=NOON, recorded_at=NOON)]
    assert library.duplicates.pair(library.tenant, B, A) == replace(again, found_at=NOON, recorded_at=NOON)


def test_pairs_with_deleted_images_are_neither_kept_nor_grouped(library: Library) -> None:
    library.add(A, B, C)
    pair = library.found(A, B)
    library.duplicates.save(library.tenant, [pair])
    gone = library.found(A, C)
    library.images.mark_deleted(library.tenant, C, NOON)
    assert library.duplicates.save(library.tenant, [gone]) == []
    library.images.mark_deleted(library.tenant, B, NOON)
    assert library.duplicates.record(library.tenant, [pair.id], NOON).groups == {}
    assert library.groups() == {}


def test_groups_keep_their_id_when_members_and_other_groups_come(library: Library) -> None:
    library.add(A, B, C, D, "img_e")
    (first,) = library.record((A, B)).groups.values()
    library.record((B, C))
    assert library.groups() == {first: {A, B, C}}
    (second,) = set(library.record((D, "img_e")).groups.values())
    library.record((C, D))
    assert library.groups() == {first: {A, B, C, D, "img_e"}} or library.groups() == {second: {A, B, C, D, "img_e"}}
    kept = next(iter(library.groups()))
    for id_ in (first, second):
        group = library.duplicates.group(library.tenant, id_)
        assert group
        assert (group.id, group.size, len(group.pairs)) == (kept, 5, 4)


def test_recording_a_pair_twice_changes_nothing(library: Library) -> None:
    library.add(A, B)
    assert library.record((A, B)) == library.record((A, B))
    assert list(library.groups().values()) == [{A, B}]


def test_a_group_is_gone_when_one_live_image_is_left(library: Library) -> None:
    library.add(A, B)
    (group_id,) = library.record((A, B)).groups.values()
    library.images.mark_deleted(library.tenant, B, NOON)
    assert library.groups() == {}
    assert library.duplicates.group(library.tenant, group_id) is None
    library.images.delete_rows(library.tenant, {B: {}})
    assert library.groups() == {}
    assert library.duplicates.pair(library.tenant, A, B) is None


def test_a_decision_is_remembered_whatever_is_found_later(library: Library) -> None:
    library.add(A, B, C)
    (group_id,) = set(library.record((A, B), (B, C)).groups.values())
    library.duplicates.decide(library.tenant, [A, B], "not-duplicate", "usr_1", NOON)
    assert library.groups() == {group_id: {B, C}}
    assert library.record((A, B)).groups == {}
    kept = library.duplicates.pair(library.tenant, A, B)
    assert kept
    assert (kept.decision, kept.decided_at, kept.decided_by) == ("not-duplicate", NOON, "usr_1")
    library.duplicates.decide(library.tenant, [A, B], "duplicate", "usr_1", NOON)
    assert library.groups() == {group_id: {A, B, C}}


def test_a_group_falls_apart_along_what_is_no_duplicate(library: Library) -> None:
    library.add(A, B, C, D, "img_e")
    (group_id,) = set(library.record((A, B), (B, C), (A, C), (C, D), (D, "img_e")).groups.values())
    library.duplicates.decide(library.tenant, [C, D], "not-duplicate", "usr_1", NOON)
    groups = library.groups()
    assert groups.pop(group_id) == {A, B, C}
    assert list(groups.values()) == [{D, "img_e"}]
    library.duplicates.decide(library.tenant, [A, B, C], "not-duplicate", "usr_1", NOON)
    assert group_id not in library.groups()


def test_merged_images_answer_by_the_kept_one(library: Library) -> None:
    library.add(A, tags=("old",), metadata={"iso": 100})
    library.add(B, tags=("new", "old"), metadata={"iso": 200, "camera": "X"})
    library.record((A, B))
    done = merge_of(library, A, B)
    assert (done.merged_ids, done.state, done.before["tags"]) == ((B,), "merged", ["old"])
    assert library.images.find(library.tenant, [B])[B] == Tombstone(B, NOON, None, A)
    kept = library.row(A)
    assert (kept.tags, kept.metadata, kept.revision) == (("old", "new"), {"iso": 100, "camera": "X"}, 2)
    assert library.groups() == {}
    assert library.duplicates.merge_of(library.tenant, done.id) == done
    assert library.duplicates.merges(library.tenant, 9, None) == [done]
    assert done.group_id
    assert library.duplicates.last_merge(library.tenant, done.group_id, A) == done


def test_nothing_is_merged_that_is_gone_or_was_decided_against(library: Library) -> None:
    library.add(A, B, C)
    library.record((A, B), (A, C))
    library.duplicates.decide(library.tenant, [A, B], "not-duplicate", "usr_1", NOON)
    library.images.mark_deleted(library.tenant, C, NOON)
    merge = Merge("mrg_1", None, A, (B, C, "img_unknown"), NOON, NOON, "key:1")
    assert library.duplicates.merge(library.tenant, merge) is None
    assert library.duplicates.merge(library.tenant, replace(merge, kept_id=C, merged_ids=(A,))) is None
    assert library.row(A).revision == 1


def test_an_undone_merge_gives_everything_back(library: Library) -> None:
    library.add(A, tags=("old",))
    library.add(B, C, tags=("new",))
    (group_id,) = set(library.record((A, B), (B, C)).groups.values())
    done = merge_of(library, A, B, C)
    undone = library.duplicates.undo(library.tenant, done.id, NOON + MINUTE)
    assert undone == replace(done, state="undone") == library.duplicates.undo(library.tenant, done.id, NOON + 2 * DAY)
    assert (library.row(A).tags, library.row(B).tags) == (("old",), ("new",))
    assert library.groups() == {group_id: {A, B, C}}
    assert library.duplicates.settle(library.tenant, done.id, NOON + 2 * DAY) is None


def test_an_undo_leaves_later_changes_alone(library: Library) -> None:
    library.add(A, tags=("old",))
    library.add(B, tags=("new",))
    library.record((A, B))
    done = merge_of(library, A, B)
    library.images.amend(library.tenant, A, tags=["mine"], metadata=None)
    assert library.duplicates.undo(library.tenant, done.id, NOON)
    assert library.row(A).tags == ("mine",)


def test_undone_merges_of_merges_leave_nobody_without_a_group(library: Library) -> None:
    library.add(A, B, C)
    library.record((A, B), (B, C))
    first, second = merge_of(library, B, C), merge_of(library, A, B)
    assert library.duplicates.undo(library.tenant, first.id, NOON)
    assert (library.live(), library.groups()) == ({A, C}, {})
    assert library.duplicates.undo(library.tenant, second.id, NOON)
    assert list(library.groups().values()) == [{A, B, C}]


def test_an_undo_groups_by_what_was_recorded_when_the_kept_image_is_gone(library: Library) -> None:
    library.add(A, B, C, D)
    library.record((A, B), (A, C), (B, C), (A, D), (C, D))
    library.duplicates.decide(library.tenant, [C, D], "not-duplicate", "usr_1", NOON)
    done = merge_of(library, A, B, C, D)
    library.images.mark_deleted(library.tenant, A, NOON)
    assert library.duplicates.undo(library.tenant, done.id, NOON)
    assert list(library.groups().values()) == [{B, C}]


def test_a_pair_that_lost_its_group_is_grouped_when_it_is_found_again(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.add(A, B, C)
    library.record((A, B), (A, C), (B, C))
    done = merge_of(library, A, B, C)
    library.images.mark_deleted(library.tenant, A, NOON)
    # As if from before undone merges were grouped by what was recorded.
    with monkeypatch.context() as patched:
        patched.setattr(changes, "loose", lambda *_, **__: [])
        patched.setattr(FakeDuplicates, "_loose", lambda *_: [])
        assert library.duplicates.undo(library.tenant, done.id, NOON)
        assert library.groups() == {}
    library.duplicates.save(library.tenant, [library.found(B, C)])
    assert list(library.groups().values()) == [{B, C}]
    library.duplicates.decide(library.tenant, [B, C], "not-duplicate", "usr_1", NOON)
    library.duplicates.save(library.tenant, [library.found(B, C)])
    assert library.groups() == {}


def test_a_settled_merge_cannot_be_undone(library: Library) -> None:
    library.add(A, B)
    library.record((A, B))
    done = merge_of(library, A, B)
    assert library.duplicates.settle(library.tenant, done.id, NOON) is None
    settled = library.duplicates.settle(library.tenant, done.id, NOON + DAY)
    assert settled == replace(done, state="settled") == library.duplicates.settle(library.tenant, done.id, NOON + DAY)
    assert library.duplicates.undo(library.tenant, done.id, NOON) is None
    assert library.duplicates.undo(library.tenant, "mrg_unknown", NOON) is None
    library.images.delete_rows(library.tenant, {B: {"objects": []}})
    # The alias outlives other tombstones.
    assert library.images.purge_tombstones(library.tenant, NOON + 99 * DAY) == 0
    assert library.images.find(library.tenant, [B])[B] == Tombstone(B, NOON, {"objects": []}, A)


def test_a_policy_merges_exact_copies_into_the_earliest(library: Library) -> None:
    library.add(A, B, C)
    library.policy(DuplicatePolicy("auto-merge-exact", 60))
    recorded = library.record((B, C), (A, C), (A, B), verdict="exact")
    assert library.live() == {A}
    assert {merge.undo_until for merge in recorded.merges} == {NOON + MINUTE}
    again = library.duplicates.record(library.tenant, [pair_id(A, B), pair_id(A, C), pair_id(B, C)], NOON + DAY)
    assert {merge.id for merge in again.merges} == {merge.id for merge in recorded.merges}
    assert len(recorded.merges) == 2


def test_a_policy_that_comes_later_merges_what_was_recorded_and_tells_nothing_twice(library: Library) -> None:
    library.add(A, B)
    library.record((A, B), verdict="exact")
    library.policy(DuplicatePolicy("auto-merge-exact", 60))
    again = library.duplicates.record(library.tenant, [pair_id(A, B)], NOON + 8 * DAY)
    assert [merge.merged_ids for merge in again.merges] == [(B,)]
    assert again.groups == {}
    assert library.duplicates.record(library.tenant, [], NOON) == Recorded({}, [])


def test_a_pair_that_was_recorded_long_ago_is_not_told_again(library: Library) -> None:
    library.add(A, B)
    assert library.record((A, B)).groups
    assert library.duplicates.record(library.tenant, [pair_id(A, B)], NOON + DAY).groups
    assert library.duplicates.record(library.tenant, [pair_id(A, B)], NOON + 8 * DAY).groups == {}


def test_a_policy_merges_nothing_that_was_decided_or_undone(library: Library) -> None:
    library.add(A, B)
    (pair,) = library.duplicates.save(library.tenant, [library.found(A, B, "exact")])
    library.duplicates.decide(library.tenant, [A, B], "not-duplicate", "usr_1", NOON)
    library.policy(DuplicatePolicy("auto-merge-exact", 60))
    assert library.duplicates.record(library.tenant, [pair.id], NOON).merges == []
    library.add(C, D, sha256="cd" * 32)
    (merge,) = library.record((C, D), verdict="exact").merges
    assert library.duplicates.undo(library.tenant, merge.id, NOON)
    assert library.record((C, D), verdict="exact").merges == []
    assert library.row(D)


def test_near_duplicates_are_left_to_people(library: Library) -> None:
    library.add(A, B, sha256="ef" * 32)
    library.policy(DuplicatePolicy("auto-merge-exact", 60))
    assert library.record((A, B), verdict="re-encoded").merges == []


def test_pages_go_from_the_newest_to_the_oldest_group(library: Library) -> None:
    ids = [f"img_{number}" for number in range(10)]
    library.add(*ids)
    for number in range(0, 10, 2):
        pair = library.duplicates.save(library.tenant, [library.found(ids[number], ids[number + 1])])
        library.duplicates.record(library.tenant, [pair[0].id], NOON + number // 4 * MINUTE)
    listed = library.duplicates.page(library.tenant, 9, None)
    assert [group.created_at for group in listed] == sorted((group.created_at for group in listed), reverse=True)
    paged, after = [], None
    while page := library.duplicates.page(library.tenant, 2, after):
        paged += page
        after = (page[-1].created_at, page[-1].id)
    assert paged == listed
    assert len(paged) == 5


def test_another_tenants_duplicates_are_unknown(library: Library, new_tenant: NewTenant) -> None:
    library.add(A, B)
    recorded = library.record((A, B))
    (group_id,) = recorded.groups.values()
    done = merge_of(library, A, B)
    other, duplicates = new_tenant(), library.duplicates
    assert duplicates.page(other, 9, None) == []
    assert duplicates.group(other, group_id) is None
    assert duplicates.pair(other, A, B) is None
    assert duplicates.record(other, list(recorded.groups), NOON) == Recorded({}, [])
    assert duplicates.merge(other, replace(done, id="mrg_stolen")) is None
    assert (duplicates.undo(other, done.id, NOON), duplicates.merges(other, 9, None)) == (None, [])
    assert duplicates.hashes(other, [A]) == {}
    assert duplicates.images_with_same_bytes(other, ["ab" * 32], 9) == {}
    assert isinstance(library.images.find(library.tenant, [B])[B], Tombstone)


@pytest.fixture(params=["fake", "postgres"])
def deadlines(request: pytest.FixtureRequest) -> MergeDeadlines:
    if request.param == "fake":
        return FakeMergeDeadlines()
    return PostgresMergeDeadlines(request.getfixturevalue("connections"))


def test_deadlines_come_due_once_per_asking_until_they_are_done(deadlines: MergeDeadlines, tenant: Tenant) -> None:
    early, late = NOON - 1000 * DAY, NOON - 999 * DAY
    deadlines.add([(tenant.id, "mrg_1", early), (tenant.id, "mrg_2", late)])
    deadlines.add([(tenant.id, "mrg_1", late)])
    assert deadlines.overdue(early, late, 10) == [(tenant.id, "mrg_1")]
    assert deadlines.overdue(early, late, 10) == []
    assert sorted(deadlines.overdue(late, NOON, 10)) == [(tenant.id, "mrg_1"), (tenant.id, "mrg_2")]
    deadlines.done("tenant_other", ["mrg_1"])
    deadlines.done(tenant.id, ["mrg_2"])
    assert deadlines.overdue(NOON, NOON + DAY, 10) == [(tenant.id, "mrg_1")]
    deadlines.done(tenant.id, ["mrg_1"])
