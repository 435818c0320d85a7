"""Put a failed image back into progress."""

from dataclasses import replace

from deeplens.common.ports import Clock
from deeplens.errors import ApiError
from deeplens.events.ids import with_upload_id
from deeplens.events.images import ImageUploaded
from deeplens.failures.model import DeadLetters
from deeplens.images.model import ImageRecord, StageResult, Step
from deeplens.images.ports import ImageRepository, PendingDue, PendingImages
from deeplens.images.requests import image_uploaded
from deeplens.tenants.model import Tenant


class Renew:
    """Raise a failed image's generation: accepted and pending again, its error gone, its late events dropped.

    Pending comes first: if the rest is lost, the schedule sends the image again when it is due.
    """

    def __init__(self, images: ImageRepository, pending: PendingImages, pending_due: PendingDue, clock: Clock) -> None:
        self._images, self._pending, self._pending_due, self._clock = images, pending, pending_due, clock

    def __call__(self, tenant: Tenant, image: ImageRecord, by: str) -> tuple[ImageUploaded, bool]:
        """The event that processes it from the start, and whether it may be published: within the tenant's window.

        ``by`` names the line of its timeline.
        """
        now, generation = self._clock.now(), image.generation + 1
        event = image_uploaded(tenant.id, replace(image, generation=generation))
        admission = self._pending.admit(event, now + self._pending_due)
        self._images.advance(tenant, [StageResult(image.id, generation, Step.ACCEPTED, by, now)])
        return event, admission.released


class RetryImage:
    """Process a failed image from the start and settle its dead letters. A repeat is refused: it has not failed."""

    def __init__(self, renew: Renew, dead_letters: DeadLetters, clock: Clock) -> None:
        self._renew, self._dead_letters, self._clock = renew, dead_letters, clock

    def __call__(self, tenant: Tenant, image: ImageRecord) -> tuple[ImageUploaded, ...]:
        """Returns what is to be published; nothing while the tenant's window is full."""
        if image.step is not Step.FAILED:
            detail = f"It is {image.step.name.lower()}; only a failed image can be retried."
            raise ApiError(409, "image-not-failed", "Image not failed", detail)
        event, released = self._renew(tenant, image, "retry")
        self._dead_letters.settle_image(tenant.id, image.id, "retried by its tenant", self._clock.now())
        return (with_upload_id(event),) if released else ()
