"""every minute → accepted images that have not ended in time → deeplens.images.uploaded"""

from collections.abc import Sequence
from typing import ClassVar

from deeplens.common.ports import Clock
from deeplens.errors import DependencyUnavailable, TenantNotFound
from deeplens.events.images import ImageUploaded
from deeplens.images.model import ImageRecord, Step, Tombstone
from deeplens.images.ports import ImageRepository, PendingDue, PendingImages
from deeplens.tenants.ports import TenantDirectory


class ResumeOverdue:
    """Send overdue accepted images again: one query over all tenants, whatever stopped them.

    Those that have nothing before them are forgotten, which makes room for the next: one without a row was never
    accepted, as its upload stopped half-way and its client was told nothing, or an error (a sweep removes what was
    stored of it); one that has ended, or was deleted, while a request for it went on, was admitted too late.

    Parameters
    ----------
    pending_due : how long an image has until it is sent once more; longer than a request can take.
    """

    name: ClassVar = "resume"
    batch_size: ClassVar = 500

    def __init__(
        self,
        pending: PendingImages,
        tenants: TenantDirectory,
        images: ImageRepository,
        pending_due: PendingDue,
        clock: Clock,
    ) -> None:
        self._pending, self._tenants, self._images = pending, tenants, images
        self._pending_due, self._clock = pending_due, clock

    def __call__(self) -> list[ImageUploaded]:
        now = self._clock.now()
        due = now + self._pending_due
        late = self._pending.overdue(now, due, self.batch_size)
        tenants = dict.fromkeys(event.tenant_id for event in late)
        going = [one for id_ in tenants for one in self._going(id_, [e for e in late if e.tenant_id == id_])]
        over = {(event.tenant_id, event.image_id) for event in late} - {(e.tenant_id, e.image_id) for e in going}
        return going + self._pending.finish(sorted(over), due, still_due=due)

    def _going(self, tenant_id: str, late: Sequence[ImageUploaded]) -> list[ImageUploaded]:
        """Those that have not ended. Where a tenant cannot be asked, none has: the stages will see."""
        try:
            found = self._images.find(self._tenants.get(tenant_id), [event.image_id for event in late])
        except (DependencyUnavailable, TenantNotFound):
            return list(late)
        return [again for event in late if (again := still_to_do(event, found.get(event.image_id)))]


def still_to_do(event: ImageUploaded, found: ImageRecord | Tombstone | None) -> ImageUploaded | None:
    """The event that brings an image to its end, in the generation that its row has reached; None where none does."""
    if not isinstance(found, ImageRecord):
        return None
    if found.generation < event.effective_generation:
        # A retry that stopped before it moved the row.
        return event
    if found.step >= Step.FAILED:
        return None
    return event if found.generation == 1 else event.model_copy(update={"generation": found.generation})
