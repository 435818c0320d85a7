"""What buckets of tenants' own accounts say of their objects → deeplens.images.maintenance"""

from collections.abc import Sequence

from deeplens.common.ports import Clock
from deeplens.events.bucket import Notification, Place
from deeplens.events.maintenance import ImageMaintenance
from deeplens.stores.messages import keys_of, looks_at
from deeplens.stores.model import RegisteredStores, TenantStore

SOURCE = "aws:s3"


class StoreNotices:
    """Have every registration that covers an object look at it, with that tenant's own credentials.

    A message proves nothing but that something may have changed: its bucket's name is looked up, never its sender.
    """

    def __init__(self, registered: RegisteredStores, clock: Clock) -> None:
        self._registered, self._clock = registered, clock

    def __call__(self, batch: Sequence[Notification]) -> list[tuple[ImageMaintenance, ...]]:
        """The events that follow from each message."""
        buckets = {place.bucket for one in batch for place in one.changed if place.source == SOURCE}
        stores = {bucket: self._followed(bucket) for bucket in buckets}
        return [self._looks(one.changed, stores) for one in batch]

    def _followed(self, bucket: str) -> list[TenantStore]:
        found = self._registered.of_container(bucket)
        return [one for one in found if one.kind == "s3" and one.endpoint is None and one.mode == "reference"]

    def _looks(self, places: Sequence[Place], stores: dict[str, list[TenantStore]]) -> tuple[ImageMaintenance, ...]:
        now = self._clock.now()
        objects = [(place.bucket, place.key) for place in places if place.source == SOURCE]
        events: list[ImageMaintenance] = []
        for store in {one.id: one for bucket, _ in objects for one in stores[bucket]}.values():
            keys = keys_of(store, objects)
            self._registered.notified(store.id, now)
            events += looks_at(store, keys, now)
        return tuple(events)
