"""Deleting an image: a tombstone now, the rest through ``deeplens.images.maintenance``."""

from deeplens.common.ports import Clock
from deeplens.events.ids import follow_up_id
from deeplens.events.maintenance import ImageMaintenance
from deeplens.http.problems import image_not_found
from deeplens.images.ports import ImageRepository
from deeplens.images.requests import image_deletion
from deeplens.tenants.model import Tenant


class Delete:
    """Mark an image as deleted and request its removal. A repeat requests it again, in case the event was lost."""

    def __init__(self, images: ImageRepository, clock: Clock) -> None:
        self._images, self._clock = images, clock

    def __call__(self, tenant: Tenant, image_id: str) -> ImageMaintenance:
        now = self._clock.now()
        if not self._images.mark_deleted(tenant, image_id, now):
            raise image_not_found(image_id)
        event = image_deletion(tenant.id, image_id, now)
        return event.model_copy(update={"event_id": follow_up_id("delete", image_id, 0)})
