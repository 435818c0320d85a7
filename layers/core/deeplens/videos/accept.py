"""Accepting a video, from a request or from an object that is in the tenant's store already."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from deeplens.common.ports import Clock
from deeplens.errors import QuotaExceeded
from deeplens.events.videos import VideoUploaded
from deeplens.http.schemas import view
from deeplens.images.model import Tombstone
from deeplens.tenants.limits import UNLIMITED, ResourceLimits
from deeplens.tenants.model import Tenant
from deeplens.videos.model import NewVideo, PendingVideos, PendingVideosDue, VideoRecord, VideoRepository


@dataclass(frozen=True, slots=True)
class AcceptVideo:
    """Record the video as pending, store the object, write the row, and return the event to publish.

    Safe to repeat, and to stop anywhere: the schedule sends pending videos again.
    """

    videos: VideoRepository
    pending_videos: PendingVideos
    pending_videos_due: PendingVideosDue
    clock: Clock

    def __call__(
        self,
        tenant: Tenant,
        video: NewVideo,
        limits: ResourceLimits = UNLIMITED,
        store: Callable[[], None] = lambda: None,
        etag: str | None = None,
    ) -> tuple[VideoRecord | Tombstone | None, VideoUploaded | None]:
        """Accept a video.

        Parameters
        ----------
        store : writes the object, unless it is there already.
        etag : of an object in a store that the tenant registered.

        Returns
        -------
        The row, and the event to publish: none for a deleted video, and for one that has ended. Where another file of
        this id came first: the row of that one, if it has one by now, and no event.

        Raises
        ------
        QuotaExceeded
            Beyond ``limits``; only the object is left of the video.
        """
        due = self.clock.now() + self.pending_videos_due
        event = self.pending_videos.admit(video_uploaded(tenant, video, etag), due)
        if event.metadata.get("sha256") != video.sha256:
            # Checked before the object is written: other bytes must not replace one that was accepted.
            return self.videos.find(tenant, video.id), None
        store()
        try:
            found = self.videos.insert(tenant, video, limits)
        except QuotaExceeded:
            self.pending_videos.finish(tenant.id, video.id)
            raise
        if isinstance(found, Tombstone) or found.status in ("completed", "failed"):
            self.pending_videos.finish(tenant.id, video.id)
            return found, None
        return found, event

    def again(self, tenant: Tenant, video: VideoRecord) -> tuple[VideoUploaded, ...]:
        """The event of an accepted video, which may never have been published; none once the first stage has run."""
        if video.status != "accepted":
            return ()
        return (self.pending_videos.admit(video_uploaded(tenant, video), self.clock.now() + self.pending_videos_due),)


def video_uploaded(tenant: Tenant, video: NewVideo | VideoRecord, etag: str | None = None) -> VideoUploaded:
    known = {"sha256": video.sha256, "etag": etag}
    metadata: dict[str, Any] = {name: value for name, value in known.items() if value is not None}
    return view(VideoUploaded, video, video_id=video.id, tenant_id=tenant.id, duration=0, metadata=metadata)
