"""Notifications of buckets in tenants' own accounts → deeplens.images.maintenance"""

from collections.abc import Sequence
from dataclasses import dataclass

from deeplens.common.ports import Clock
from deeplens.events.bucket import BucketNotification, ObjectLocation
from deeplens.events.maintenance import ImageMaintenance
from deeplens.stores.messages import keys_of, looks_at
from deeplens.stores.model import RegisteredStores, TenantStore

SOURCE = "aws:s3"


@dataclass(frozen=True, slots=True)
class StoreNotices:
    """Return the events that look up an object for every registration that covers it, with its own credentials.

    A message only says that something may have changed: registrations are found by the bucket's name, not the sender.
    """

    registered: RegisteredStores
    clock: Clock

    def __call__(self, batch: Sequence[BucketNotification]) -> list[tuple[ImageMaintenance, ...]]:
        """The events that follow from each message."""
        buckets = {location.bucket for one in batch for location in one.changed if location.source == SOURCE}
        stores = {bucket: self._followed(bucket) for bucket in buckets}
        return [self._looks(one.changed, stores) for one in batch]

    def _followed(self, bucket: str) -> list[TenantStore]:
        found = self.registered.of_container(bucket)
        return [one for one in found if one.kind == "s3" and one.endpoint is None and one.mode == "reference"]

    def _looks(
        self, locations: Sequence[ObjectLocation], stores: dict[str, list[TenantStore]]
    ) -> tuple[ImageMaintenance, ...]:
        now = self.clock.now()
        objects = [(one.bucket, one.key) for one in locations if one.source == SOURCE]
        events: list[ImageMaintenance] = []
        for store in {one.id: one for bucket, _ in objects for one in stores[bucket]}.values():
            keys = keys_of(store, objects)
            self.registered.notified(store.id, now)
            events += looks_at(store, keys, now)
        return tuple(events)
