"""Maintenance ``delete`` of a video: its objects and row removed, and the deletion of its frames asked for."""

from collections.abc import Sequence

from deeplens.common.event import Event
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Failed, Outcome, attempt
from deeplens.errors import InvalidEvent
from deeplens.events.maintenance import ImageMaintenance
from deeplens.images.requests import image_deletion
from deeplens.storage.ports import StoreResolver
from deeplens.tenants.model import Tenant
from deeplens.videos.keys import poster_key, video_prefix
from deeplens.videos.model import PendingVideos, VideoRepository, VideoTombstone


class DeleteVideos:
    """Remove the file, the poster and the row of videos; a receipt stays on the tombstone.

    Each frame is deleted as any image is, by an event of its own. Safe to repeat: what is gone stays gone, and frames
    that are still there are asked for again.
    """

    def __init__(
        self, stores: StoreResolver, videos: VideoRepository, pending_videos: PendingVideos, clock: Clock
    ) -> None:
        self._stores, self._videos, self._pending, self._clock = stores, videos, pending_videos, clock

    def __call__(self, tenant: Tenant, batch: Sequence[ImageMaintenance]) -> list[Outcome]:
        return [attempt(lambda event=event: self._delete(tenant, event)) for event in batch]  # type: ignore[misc]

    def _delete(self, tenant: Tenant, event: ImageMaintenance) -> Outcome:
        if event.video_id is None:
            return Failed(InvalidEvent("deletion of a video names videoId"))
        now = self._clock.now()
        if not self._videos.bury(tenant, event.video_id, now):
            return Done(dropped="unknown")
        self._pending.finish(tenant.id, event.video_id)
        frames = self._videos.frame_ids(tenant, event.video_id)
        found = self._videos.find(tenant, event.video_id)
        if isinstance(found, VideoTombstone):
            self._remove(tenant, found, len(frames))
        follows: tuple[Event, ...] = tuple(image_deletion(tenant.id, image_id, now) for image_id in frames)
        return Done(follows)

    def _remove(self, tenant: Tenant, tombstone: VideoTombstone, frames: int) -> None:
        store, so_far = self._stores.for_tenant(tenant), tombstone.receipt or {}
        keys = [entry.key for prefix in _prefixes(tombstone.video_id) for entry in store.list(prefix)]
        store.delete(keys)
        receipt = {
            "deletedAt": so_far.get("deletedAt") or self._clock.now().isoformat(),
            "objects": sorted({*so_far.get("objects", ()), *keys}),
            "frames": max(frames, so_far.get("frames", 0)),
        }
        self._videos.erase(tenant, tombstone.video_id, receipt)


def _prefixes(video_id: str) -> tuple[str, str]:
    return video_prefix(video_id), poster_key(video_id)
