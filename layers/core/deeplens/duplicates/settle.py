"""Maintenance ``merge``: when a merge can no longer be undone, the merged images are deleted."""

from collections.abc import Sequence
from dataclasses import dataclass

from deeplens.common.batch import followed_by
from deeplens.common.event import Event
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Outcome
from deeplens.duplicates.model import Duplicates, MergeDeadlines
from deeplens.events.maintenance import ImageMaintenance
from deeplens.images.requests import image_deletion
from deeplens.tenants.model import Tenant


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
                events += [image_deletion(tenant.id, image_id, now) for image_id in settled.merged_ids]
            if known is None or known.state != "merged":
                ended.add(merge_id)
        # If the deletions cannot be published, the record comes again; the deadline is not needed for that.
        self.deadlines.done(tenant.id, ended)
        return followed_by([Done()] * len(batch), events)
