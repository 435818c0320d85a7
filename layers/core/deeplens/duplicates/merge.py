"""Merging by hand and undoing it: the tenant's database decides, then events follow."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from deeplens.common.event import Event
from deeplens.common.ids import new_id
from deeplens.common.ports import Clock
from deeplens.duplicates.merges import follow_ups, indexed_again
from deeplens.duplicates.model import Duplicates, Group, Merge, MergeDeadlines, undo_until
from deeplens.errors import ApiError
from deeplens.events.ids import follow_up_id
from deeplens.http.problems import image_not_found
from deeplens.images.ports import ImageRepository
from deeplens.tenants.model import Tenant


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
        done = self._made_before(tenant, group_id, group, keep, image_ids)
        if done is None:
            others = _others(group_id, group, keep, image_ids)
            done = self._merge(tenant, group.id if group else group_id, keep, others, by, now)
        return done, with_ids(follow_ups(self.images, tenant, [done], now), f"merge/{done.id}")

    def _made_before(
        self, tenant: Tenant, group_id: str, group: Group | None, keep: str, image_ids: Sequence[str] | None
    ) -> Merge | None:
        """The group's last merge into ``keep`` if it is what is asked for again."""
        before = self.duplicates.last_merge(tenant, group.id if group else group_id, keep)
        if before is None or (group is not None and not image_ids):
            return None
        return before if set(image_ids or ()) <= set(before.merged_ids) else None

    def _merge(
        self, tenant: Tenant, group_id: str, keep: str, others: tuple[str, ...], by: str, now: datetime
    ) -> Merge:
        until = undo_until(tenant.duplicates, now)
        planned = Merge(new_id("mrg", now), group_id, keep, others, now, until, by)
        # Before the merge: without a deadline it would never settle. The deadline of a merge not made is dropped then.
        self.merge_deadlines.add([(tenant.id, planned.id, until)])
        done = self.duplicates.merge(tenant, planned)
        if done is None:
            detail = f"The other images of {group_id} were deleted, or were decided to be no duplicates of {keep}."
            raise ApiError(409, "nothing-to-merge", "Nothing to merge", detail)
        return done


def _others(group_id: str, group: Group | None, keep: str, image_ids: Sequence[str] | None) -> tuple[str, ...]:
    """The images to merge into ``keep``: the named ones, or all others of the group."""
    if group is None:
        raise ApiError(404, "duplicate-not-found", "Group not found", f"There is no group {group_id} to merge.")
    members = {image.id for image in group.members}
    for image_id in [keep, *(image_ids or ())]:
        if image_id not in members:
            raise image_not_found(image_id)
    return tuple(sorted(set(image_ids or members) - {keep}))


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


def with_ids[E: Event](events: Sequence[E], source: str) -> list[Event]:
    """Give events ids that are the same at every repeat of the request."""
    return [
        event.model_copy(update={"event_id": follow_up_id("duplicates", source, index)})
        for index, event in enumerate(events)
    ]
