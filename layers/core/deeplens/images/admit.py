"""Admitting images to the pipeline: pending first, and published while their tenant's window has room."""

from dataclasses import dataclass
from datetime import datetime

from deeplens.common.ports import Clock
from deeplens.events.ids import with_upload_id
from deeplens.events.images import ImageUploaded
from deeplens.images.model import ImageRecord, Step
from deeplens.images.ports import Admission, PendingDue, PendingImages
from deeplens.images.requests import image_uploaded
from deeplens.tenants.model import Tenant


@dataclass(frozen=True, slots=True)
class AdmitImages:
    """Record images as pending, and return the events to publish now, with ids that are the same at every repeat.

    Parameters
    ----------
    pending_due : age after which an unfinished image is sent again.
    """

    pending: PendingImages
    pending_due: PendingDue
    clock: Clock

    def admit(self, event: ImageUploaded) -> Admission:
        return self.pending.admit(event, self._due())

    def again(self, tenant: Tenant, image: ImageRecord) -> tuple[ImageUploaded, ...]:
        """The event of an accepted image, which may never have been published; the image is pending again.

        None while the image waits for others of its tenant, and once the first stage has run.
        """
        if image.step is not Step.ACCEPTED:
            return ()
        return publishable(self.admit(image_uploaded(tenant.id, image)))

    def withdraw(self, tenant: Tenant, image_id: str) -> tuple[ImageUploaded, ...]:
        """Forget a pending image, and return the events of the images that take its place."""
        return tuple(map(with_upload_id, self.pending.finish([(tenant.id, image_id)], self._due())))

    def _due(self) -> datetime:
        return self.clock.now() + self.pending_due


def publishable(admission: Admission) -> tuple[ImageUploaded, ...]:
    """The event of an admitted image; none while the image waits."""
    return (with_upload_id(admission.event),) if admission.released else ()
