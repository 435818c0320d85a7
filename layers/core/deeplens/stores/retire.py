"""Deleting the images and videos of objects that were removed, and deciding about those that wait."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from deeplens.common.event import Event
from deeplens.common.ports import Clock
from deeplens.events.ids import follow_up_id
from deeplens.images.ports import ImageRepository
from deeplens.images.requests import image_deletion
from deeplens.stores.model import KnownObject, ObjectState, StoreObjects, TenantStore
from deeplens.tenants.model import Tenant
from deeplens.videos.model import VideoRepository, is_video
from deeplens.videos.requests import video_deletion

MAX_REMOVALS = 200


@dataclass(frozen=True, slots=True)
class RetireMedia:
    """Mark images and videos as deleted, and return the events that have them removed.

    A sweep makes up for a lost event of an image: it finds tombstones without a receipt.
    """

    images: ImageRepository
    videos: VideoRepository
    clock: Clock

    def __call__(self, tenant: Tenant, media_ids: Iterable[str]) -> tuple[Event, ...]:
        now, events = self.clock.now(), list[Event]()
        for media_id in media_ids:
            video = is_video(media_id)
            if (self.videos if video else self.images).mark_deleted(tenant, media_id, now):
                events.append((video_deletion if video else image_deletion)(tenant.id, media_id, now))
        return tuple(events)


@dataclass(frozen=True, slots=True)
class DecideRemovals:
    """Delete or keep the images and videos of removed objects that wait for a decision."""

    store_objects: StoreObjects
    retire: RetireMedia

    def waiting(self, tenant: Tenant, store: TenantStore) -> list[KnownObject]:
        """The first ones by key."""
        return self.store_objects.in_state(tenant, store.id, "asked", MAX_REMOVALS)

    def delete(self, tenant: Tenant, store: TenantStore, objects: Sequence[KnownObject]) -> tuple[Event, ...]:
        """The events to publish; once they are, the objects are to be marked as ``removed``."""
        self.mark(tenant, store, objects, "removing")
        return tuple(
            event.model_copy(update={"event_id": follow_up_id("delete", known.image_id, 0)})
            for known in objects
            for event in self.retire(tenant, [known.image_id])
        )

    def mark(self, tenant: Tenant, store: TenantStore, objects: Sequence[KnownObject], state: ObjectState) -> None:
        self.store_objects.save(tenant, store.id, [replace(known, state=state) for known in objects])
