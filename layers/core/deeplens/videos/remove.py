"""Maintenance ``delete`` of a video: removes its objects and row, and requests the deletion of its frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Failed, Outcome, attempt_each
from deeplens.errors import InvalidEvent
from deeplens.events.maintenance import ImageMaintenance
from deeplens.images.keys import original_prefix, poster_key
from deeplens.images.model import Tombstone
from deeplens.images.requests import deletion_request
from deeplens.storage.ports import StoreResolver
from deeplens.tenants.model import Tenant
from deeplens.videos.model import PendingVideos, VideoRepository


@dataclass(frozen=True, slots=True)
class DeleteVideos:
    """Remove the file, the poster and the row of videos; a receipt stays on the tombstone.

    Each frame is deleted like any image, by an event of its own. Safe to repeat: the deletion of frames that are still
    there is requested again.
    """

    stores: StoreResolver
    videos: VideoRepository
    pending_videos: PendingVideos
    clock: Clock

    def __call__(self, tenant: Tenant, batch: Sequence[ImageMaintenance]) -> list[Outcome]:
        return attempt_each(partial(self._delete, tenant), batch)

    def _delete(self, tenant: Tenant, event: ImageMaintenance) -> Outcome:
        if event.video_id is None:
            return Failed(InvalidEvent("deletion of a video names videoId"))
        now = self.clock.now()
        if not self.videos.mark_deleted(tenant, event.video_id, now):
            return Done(dropped="unknown")
        self.pending_videos.finish(tenant.id, event.video_id)
        frames = self.videos.frame_ids(tenant, event.video_id)
        found = self.videos.find(tenant, event.video_id)
        if isinstance(found, Tombstone):
            self._remove(tenant, found, len(frames))
        return Done(tuple(deletion_request(tenant.id, image_id, now) for image_id in frames))

    def _remove(self, tenant: Tenant, tombstone: Tombstone, frames: int) -> None:
        store, earlier = self.stores.for_tenant(tenant), tombstone.receipt or {}
        prefixes = (original_prefix(tombstone.id), poster_key(tombstone.id))
        keys = [entry.key for prefix in prefixes for entry in store.list(prefix)]
        store.delete(keys)
        receipt = {
            "deletedAt": earlier.get("deletedAt") or self.clock.now().isoformat(),
            "objects": sorted({*earlier.get("objects", ()), *keys}),
            "frames": max(frames, earlier.get("frames", 0)),
        }
        self.videos.delete_rows(tenant, tombstone.id, receipt)
