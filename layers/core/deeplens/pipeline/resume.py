"""every minute → accepted images that have not ended in time → deeplens.images.uploaded"""

from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar

from deeplens.contracts.events import ImageUploaded
from deeplens.errors import DependencyUnavailable, TenantNotFound
from deeplens.ports import Clock, ImageRepository, PendingImages, TenantDirectory


class ResumeOverdue:
    """Send overdue accepted images again: one query over all tenants, whatever stopped them.

    One without a row was never accepted: its upload stopped half-way, and its client was told nothing, or an error. It
    is forgotten, which makes room for the next; a sweep removes what was stored of it.

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
        pending_due: timedelta,
        clock: Clock,
    ) -> None:
        self._pending, self._tenants, self._images = pending, tenants, images
        self._pending_due, self._clock = pending_due, clock

    def __call__(self) -> list[ImageUploaded]:
        now = self._clock.now()
        due = now + self._pending_due
        late = self._pending.overdue(now, due, self.batch_size)
        abandoned = self._abandoned(late)
        released = self._pending.finish(sorted(abandoned), due, still_due=due)
        return [event for event in late if (event.tenant_id, event.image_id) not in abandoned] + released

    def _abandoned(self, late: Sequence[ImageUploaded]) -> set[tuple[str, str]]:
        """(tenant_id, image_id) without a row. A tenant that cannot be asked has none: its images are sent."""
        ids: dict[str, list[str]] = {}
        for event in late:
            ids.setdefault(event.tenant_id, []).append(event.image_id)
        return {(tenant_id, one) for tenant_id, mine in ids.items() for one in self._without_row(tenant_id, mine)}

    def _without_row(self, tenant_id: str, image_ids: Sequence[str]) -> set[str]:
        try:
            return set(image_ids) - self._images.find(self._tenants.get(tenant_id), image_ids).keys()
        except (DependencyUnavailable, TenantNotFound):
            return set()
