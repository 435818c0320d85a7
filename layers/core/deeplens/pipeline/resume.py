"""every minute → images that have not ended in time → deeplens.images.uploaded"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from deeplens.common.groups import grouped
from deeplens.common.ports import Clock
from deeplens.errors import DependencyUnavailable, TenantNotFound
from deeplens.events.images import ImageUploaded
from deeplens.images.model import ImageRecord, Step, Tombstone
from deeplens.images.ports import ImageRepository, PendingDue, PendingImages
from deeplens.tenants.ports import TenantDirectory


@dataclass(frozen=True)
class ResumeOverdue:
    """Send overdue images again, in one query over all tenants.

    Images that need no more work are removed from the pending window, which releases others: those without a row (the
    upload stopped half-way and was not accepted; a sweep deletes what it stored), and those that ended or were deleted
    while a request for them was still running. ``pending_due`` is longer than a request can take.
    """

    name: ClassVar = "resume"
    batch_size: ClassVar = 500

    pending: PendingImages
    tenants: TenantDirectory
    images: ImageRepository
    pending_due: PendingDue
    clock: Clock

    def __call__(self) -> list[ImageUploaded]:
        now = self.clock.now()
        due = now + self.pending_due
        late = self.pending.overdue(now, due, self.batch_size)
        by_tenant = grouped(late, lambda event: event.tenant_id)
        in_flight = [event for tenant_id, events in by_tenant.items() for event in self._in_flight(tenant_id, events)]
        ended = {(event.tenant_id, event.image_id) for event in late} - {(e.tenant_id, e.image_id) for e in in_flight}
        return in_flight + self.pending.finish(sorted(ended), due, still_due=due)

    def _in_flight(self, tenant_id: str, late: Sequence[ImageUploaded]) -> list[ImageUploaded]:
        """The events of images that have not ended; all if the tenant's database is unavailable: stages check again."""
        try:
            found = self.images.find(self.tenants.get(tenant_id), [event.image_id for event in late])
        except (DependencyUnavailable, TenantNotFound):
            return list(late)
        return [again for event in late if (again := event_to_repeat(event, found.get(event.image_id)))]


def event_to_repeat(event: ImageUploaded, found: ImageRecord | Tombstone | None) -> ImageUploaded | None:
    """The event to send again, in the generation of the image's row; None if the image needs no more work."""
    if not isinstance(found, ImageRecord):
        return None
    if found.generation < event.effective_generation:
        # A retry that stopped before it moved the row.
        return event
    if found.step >= Step.FAILED:
        return None
    return event if found.generation == 1 else event.model_copy(update={"generation": found.generation})
