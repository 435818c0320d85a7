"""Deleting an image: a tombstone now, the rest through ``deeplens.images.maintenance``."""

from deeplens.common.outgoing import OutgoingMessage
from deeplens.common.ports import Clock, EventPublisher
from deeplens.errors import BrokerUnavailable
from deeplens.events.ids import follow_up_id
from deeplens.events.maintenance import ImageMaintenance
from deeplens.http.problems import image_not_found
from deeplens.images.ports import ImageRepository
from deeplens.images.requests import ACTIONS
from deeplens.tenants.model import Tenant


class Delete:
    """Bury an image and ask for its removal. A repeat asks again, so that a lost request can be made good."""

    def __init__(self, images: ImageRepository, publisher: EventPublisher, clock: Clock) -> None:
        self._images, self._publisher, self._clock = images, publisher, clock

    def __call__(self, tenant: Tenant, image_id: str, traceparent: str | None = None) -> None:
        now = self._clock.now()
        if not self._images.bury(tenant, image_id, now):
            raise image_not_found(image_id)
        event = ImageMaintenance(
            maintenance_type="delete",
            image_id=image_id,
            tenant_id=tenant.id,
            actions=list(ACTIONS),
            requested_at=now,
        )
        message = OutgoingMessage(event, follow_up_id("delete", image_id, 0), traceparent)
        if self._publisher.publish([message]) != [True]:
            raise BrokerUnavailable("the deletion's event was not delivered", retry_after_seconds=2)
