"""Merging by hand, undoing it, and maintenance ``merge``, which settles merges that can no longer be undone.

The tenant's database decides, then events follow: the kept image is indexed again, and the others are deleted when the
merge is settled.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, NoReturn

from deeplens.common.event import Event
from deeplens.common.ids import new_id
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Outcome, followed_by
from deeplens.duplicates.model import Duplicates, Group, Merge, MergeDeadlines, undo_until
from deeplens.errors import ApiError, ImageNotFound
from deeplens.events.ids import with_follow_up_id
from deeplens.events.images import FeatureExtractionRequested
from deeplens.events.maintenance import ImageMaintenance
from deeplens.images.model import ImageRecord
from deeplens.images.ports import ImageRepository
from deeplens.images.requests import deletion_request, extraction_request
from deeplens.tenants.model import Tenant

AGAIN_AFTER = timedelta(minutes=10)
"""A settlement that got lost is asked for again."""


@dataclass(frozen=True)
class MergeDuplicates:
    """Merge images of a group into one of them; a repeat returns the same merge and events.

    Raises
    ------
    ApiError
        404 for an unknown group or an image that is not in it; 409 when nothing is left to merge.
    """

    duplicates: Duplicates
    merge_deadlines: MergeDeadlines
    images: ImageRepository
    clock: Clock

    def __call__(
        self, tenant: Tenant, group_id: str, keep: str, image_ids: Sequence[str] | None, by: str
    ) -> tuple[Merge, list[Event]]:
        now = self.clock.now()
        group = self.duplicates.group(tenant, group_id)
        # The group may have been absorbed by another.
        group_id = group.id if group else group_id
        done = self.duplicates.last_merge(tenant, group_id, keep)
        if done is None or not _repeats(done, group, image_ids):
            others = _others(group or raise_not_found(group_id), keep, image_ids)
            done = self._merge(tenant, group_id, keep, others, by, now)
        return done, with_ids(follow_ups(self.images, tenant, [done], now), f"merge/{done.id}")

    def _merge(
        self, tenant: Tenant, group_id: str, keep: str, others: tuple[str, ...], by: str, now: datetime
    ) -> Merge:
        until = undo_until(tenant.duplicates, now)
        planned = Merge(new_id("mrg", now), group_id, keep, others, now, until, by)
        # Before the merge: without a deadline it would never settle. A deadline without a merge is dropped in time.
        self.merge_deadlines.add([(tenant.id, planned.id, until)])
        done = self.duplicates.merge(tenant, planned)
        if done is None:
            detail = f"The other images of {group_id} were deleted, or were decided to be no duplicates of {keep}."
            raise ApiError(409, "nothing-to-merge", "Nothing to merge", detail)
        return done


def _repeats(before: Merge, group: Group | None, image_ids: Sequence[str] | None) -> bool:
    """Whether a request that names these images was fulfilled by an earlier merge into the same image."""
    return bool(group is None or image_ids) and set(image_ids or ()) <= set(before.merged_ids)


def _others(group: Group, keep: str, image_ids: Sequence[str] | None) -> tuple[str, ...]:
    """The images to merge into ``keep``: the named ones, or all others of the group."""
    check_members(group, [keep, *(image_ids or ())])
    return tuple(sorted(set(image_ids or [image.id for image in group.members]) - {keep}))


def raise_not_found(group_id: str) -> NoReturn:
    detail = f"There is no group {group_id} with two images."
    raise ApiError(404, "duplicate-not-found", "Group not found", detail)


def check_members(group: Group, image_ids: Iterable[str]) -> None:
    """Raise 404 for images that are not in the group."""
    members = {image.id for image in group.members}
    for image_id in image_ids:
        if image_id not in members:
            raise ImageNotFound(f"There is no image {image_id}.")


@dataclass(frozen=True)
class UndoMerge:
    """Make merged images live again; a repeat returns the same merge and events."""

    duplicates: Duplicates
    images: ImageRepository
    clock: Clock

    def __call__(self, tenant: Tenant, merge_id: str) -> tuple[Merge, list[Event]]:
        """Raises ``ApiError`` 404 for an unknown merge, 409 when it is too late to undo it."""
        now = self.clock.now()
        done = self.duplicates.undo(tenant, merge_id, now)
        if done is None:
            known = self.duplicates.merge_of(tenant, merge_id)
            if known is None:
                raise ApiError(404, "merge-not-found", "Merge not found", f"There is no merge {merge_id}.")
            detail = f"It could be undone until {known.undo_until:%F %T} UTC."
            raise ApiError(409, "merge-settled", "Merge settled", detail)
        events = indexed_again(self.images, tenant, [done.kept_id, *done.merged_ids], now)
        return done, with_ids(events, f"undo/{done.id}")


@dataclass(frozen=True)
class SettleMerges:
    """Settle merges whose time is up and ask for the deletion of their images. Safe to repeat.

    A merge that was undone, or was planned and never made, only loses its deadline.
    """

    duplicates: Duplicates
    deadlines: MergeDeadlines
    clock: Clock

    def __call__(self, tenant: Tenant, batch: Sequence[ImageMaintenance]) -> list[Outcome]:
        now = self.clock.now()
        events: list[Event] = []
        ended: set[str] = set()
        for merge_id in sorted({event.job for event in batch if event.job}):
            settled = self.duplicates.settle(tenant, merge_id, now)
            known = settled or self.duplicates.merge_of(tenant, merge_id)
            if settled is not None:
                events += [deletion_request(tenant.id, image_id, now) for image_id in settled.merged_ids]
            if known is None or known.state != "merged":
                ended.add(merge_id)
        # If the deletions cannot be published, the record comes again; the deadline is not needed for that.
        self.deadlines.done(tenant.id, ended)
        return followed_by([Done()] * len(batch), events)


def follow_ups(images: ImageRepository, tenant: Tenant, merges: Sequence[Merge], now: datetime) -> list[Event]:
    """Events of merges, whether they were made now or before."""
    # A merge by policy that changed nothing of the kept image needs no indexing.
    kept = [merge.kept_id for merge in merges if merge.before or merge.pair_id is None]
    settling = [settlement_of(tenant.id, merge.id, now) for merge in merges if merge.undo_until <= now]
    return [*indexed_again(images, tenant, kept, now), *settling]


def indexed_again(
    images: ImageRepository, tenant: Tenant, image_ids: Collection[str], now: datetime
) -> list[FeatureExtractionRequested]:
    """The events that write the points of live images again, with the tags and metadata of their rows."""
    rows = images.find(tenant, sorted(image_ids)).values() if image_ids else ()
    return [
        extraction_request(tenant, row.id, row.generation, model, now)
        for row in rows
        if isinstance(row, ImageRecord)
        for model in tenant.models
    ]


def settlement_of(tenant_id: str, merge_id: str, now: datetime) -> ImageMaintenance:
    """The event that ends the time in which a merge can be undone."""
    return ImageMaintenance(
        maintenance_type="merge", tenant_id=tenant_id, subject="tenant", job=merge_id, requested_at=now
    )


def with_ids[E: Event](events: Sequence[E], source: str) -> list[Event]:
    """Give events ids that are the same at every repeat of the request."""
    return [with_follow_up_id(event, "duplicates", source, index) for index, event in enumerate(events)]


@dataclass(frozen=True)
class TickMerges:
    """Have merges settled whose time is up: one query over all tenants, one event each."""

    name: ClassVar = "merges"
    batch_size: ClassVar = 500

    merge_deadlines: MergeDeadlines
    clock: Clock

    def __call__(self) -> list[ImageMaintenance]:
        now = self.clock.now()
        late = self.merge_deadlines.overdue(now, now + AGAIN_AFTER, self.batch_size)
        return [settlement_of(tenant_id, merge_id, now) for tenant_id, merge_id in late]
