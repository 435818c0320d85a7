"""Merging by hand and undoing it: the tenant's database decides, then events follow."""

from collections.abc import Sequence
from datetime import datetime

from deeplens.common.event import Event
from deeplens.common.ids import new_id
from deeplens.common.outgoing import OutgoingMessage
from deeplens.common.ports import Clock, EventPublisher
from deeplens.duplicates.merges import follow_ups, indexed_again
from deeplens.duplicates.model import Duplicates, Merge, MergeDeadlines, undo_until
from deeplens.duplicates.schemas import MergeView
from deeplens.errors import ApiError, BrokerUnavailable
from deeplens.events.ids import follow_up_id
from deeplens.http.problems import image_not_found
from deeplens.images.ports import ImageRepository
from deeplens.tenants.model import Tenant


class MergeDuplicates:
    """Merge images of a group into one of them. A repeat publishes again what an earlier request could not."""

    def __init__(
        self,
        duplicates: Duplicates,
        deadlines: MergeDeadlines,
        images: ImageRepository,
        publisher: EventPublisher,
        clock: Clock,
    ) -> None:
        self._duplicates, self._deadlines, self._images = duplicates, deadlines, images
        self._publisher, self._clock = publisher, clock

    def __call__(
        self,
        tenant: Tenant,
        group_id: str,
        keep: str,
        image_ids: Sequence[str] | None,
        by: str,
        traceparent: str | None = None,
    ) -> Merge:
        """The merge that was made, now or before.

        Raises
        ------
        ApiError
            404 for an unknown group or an image that is not in it; 409 when nothing is left to merge.
        """
        now = self._clock.now()
        done = self._merged(tenant, group_id, keep, image_ids, by, now)
        publish(self._publisher, follow_ups(self._images, tenant, [done], now), f"merge/{done.id}", traceparent)
        return done

    def _merged(
        self, tenant: Tenant, group_id: str, keep: str, image_ids: Sequence[str] | None, by: str, now: datetime
    ) -> Merge:
        group = self._duplicates.group(tenant, group_id)
        before = self._duplicates.last_merge(tenant, group.id if group else group_id, keep)
        again = before is not None and set(image_ids or before.merged_ids) <= set(before.merged_ids)
        if before is not None and again and (group is None or image_ids):
            return before
        if group is None:
            raise ApiError(404, "duplicate-not-found", "Group not found", f"There is no group {group_id} to merge.")
        members = {image.id for image in group.members}
        for image_id in [keep, *(image_ids or ())]:
            if image_id not in members:
                raise image_not_found(image_id)
        others = tuple(sorted(set(image_ids or members) - {keep}))
        until = undo_until(tenant.duplicates, now)
        wanted = Merge(new_id("mrg", now), group.id, keep, others, now, until, by)
        # Before the merge: one whose deadline nobody knew would never settle. One that is not made is dropped then.
        self._deadlines.add([(tenant.id, wanted.id, until)])
        done = self._duplicates.merge(tenant, wanted)
        if done is None:
            detail = f"The other images of {group.id} are gone, or were decided to be no duplicates of {keep}."
            raise ApiError(409, "nothing-to-merge", "Nothing to merge", detail)
        return done


class UndoMerge:
    """Make merged images live again. A repeat publishes again what an earlier request could not."""

    def __init__(
        self, duplicates: Duplicates, images: ImageRepository, publisher: EventPublisher, clock: Clock
    ) -> None:
        self._duplicates, self._images = duplicates, images
        self._publisher, self._clock = publisher, clock

    def __call__(self, tenant: Tenant, merge_id: str, traceparent: str | None = None) -> Merge:
        """The undone merge. ``ApiError`` 404 for an unknown one, 409 when it is too late."""
        now = self._clock.now()
        done = self._duplicates.undo(tenant, merge_id, now)
        if done is None:
            known = self._duplicates.merge_of(tenant, merge_id)
            if known is None:
                raise ApiError(404, "merge-not-found", "Merge not found", f"There is no merge {merge_id}.")
            detail = f"It could be undone until {known.undo_until:%F %T} UTC."
            raise ApiError(409, "merge-settled", "Merge settled", detail)
        events = indexed_again(self._images, tenant, [done.kept_id, *done.merged_ids], now)
        publish(self._publisher, events, f"undo/{done.id}", traceparent)
        return done


def publish(publisher: EventPublisher, events: Sequence[Event], source: str, traceparent: str | None) -> None:
    """Publish what follows from a request, or answer that it has to be repeated."""
    messages = [
        OutgoingMessage(event, follow_up_id("duplicates", source, index), traceparent)
        for index, event in enumerate(events)
    ]
    if messages and not all(publisher.publish(messages)):
        raise BrokerUnavailable("what follows from the merge was not delivered", retry_after_seconds=2)


def merge_view(merge: Merge) -> MergeView:
    return MergeView(
        merge_id=merge.id,
        duplicate_id=merge.group_id,
        kept=merge.kept_id,
        merged=list(merge.merged_ids),
        merged_at=merge.merged_at,
        undo_until=merge.undo_until,
        by=merge.by,
        state=merge.state,
    )
