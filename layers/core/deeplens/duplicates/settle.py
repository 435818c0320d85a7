"""Maintenance ``merge``: when a merge can no longer be undone, the merged images are deleted."""

from collections.abc import Sequence

from deeplens.common.batch import followed_by
from deeplens.common.event import Event
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Outcome
from deeplens.duplicates.merges import deletions_of
from deeplens.duplicates.model import Duplicates, MergeDeadlines
from deeplens.events.maintenance import ImageMaintenance
from deeplens.tenants.model import Tenant


class SettleMerges:
    """Settle merges whose time is up and ask for the deletion of their images. Safe to repeat.

    One that was undone, or was planned and never made, only loses its deadline.
    """

    def __init__(self, duplicates: Duplicates, deadlines: MergeDeadlines, clock: Clock) -> None:
        self._duplicates, self._deadlines, self._clock = duplicates, deadlines, clock

    def __call__(self, tenant: Tenant, batch: Sequence[ImageMaintenance]) -> list[Outcome]:
        now = self._clock.now()
        events: list[Event] = []
        ended: set[str] = set()
        for merge_id in sorted({event.job for event in batch if event.job}):
            settled = self._duplicates.settle(tenant, merge_id, now)
            known = settled or self._duplicates.merge_of(tenant, merge_id)
            if settled is not None:
                events += deletions_of(tenant.id, settled, now)
            if known is None or known.state != "merged":
                ended.add(merge_id)
        # The record comes again if the deletions cannot be published, so the deadline is not needed for that.
        self._deadlines.done(tenant.id, ended)
        return followed_by([Done() for _ in batch], events)
