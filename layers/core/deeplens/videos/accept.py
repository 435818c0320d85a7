"""Accepting a video, whether it comes in a request or lies in the tenant's store already."""

from collections.abc import Callable
from typing import Any

from deeplens.common.ports import Clock
from deeplens.errors import QuotaExceeded
from deeplens.events.videos import VideoUploaded
from deeplens.tenants.limits import UNLIMITED, ResourceLimits
from deeplens.tenants.model import Tenant
from deeplens.videos.model import (
    NewVideo,
    PendingVideos,
    PendingVideosDue,
    VideoRecord,
    VideoRepository,
    VideoTombstone,
)


def stored_already() -> None:
    """For objects that were there before."""


class AcceptVideo:
    """Remember the video as pending, store the object, write the row; what then has to be published is returned.

    Safe to repeat, and to stop anywhere: whatever is pending is sent again by the schedule.
    """

    def __init__(
        self, videos: VideoRepository, pending_videos: PendingVideos, pending_videos_due: PendingVideosDue, clock: Clock
    ) -> None:
        self._videos, self._pending = videos, pending_videos
        self._due, self._clock = pending_videos_due, clock

    def __call__(
        self,
        tenant: Tenant,
        video: NewVideo,
        limits: ResourceLimits = UNLIMITED,
        store: Callable[[], None] = stored_already,
        etag: str | None = None,
    ) -> tuple[VideoRecord | VideoTombstone | None, VideoUploaded | None]:
        """Accept a video.

        Parameters
        ----------
        video : its id is derived from what makes it the same video: an idempotency key, an object's key and version.
        limits : that a new row has to fit into.
        store, etag : writes the object; or names the one that stands in a store of the tenant's own.

        Returns
        -------
        The row, and the event to publish: none of a deleted video, and of one that has ended. Where another file of
        this id came first, its row, if it has one by now, and no event.

        Raises
        ------
        QuotaExceeded
            Nothing is left of it but the object.
        """
        event = self._pending.admit(video_uploaded(tenant, video, etag), self._clock.now() + self._due)
        if event.metadata.get("sha256") != video.sha256:
            # Before the object: other bytes must not replace one that was accepted.
            return self._videos.find(tenant, video.id), None
        store()
        try:
            found = self._videos.insert(tenant, video, limits)
        except QuotaExceeded:
            self._pending.finish(tenant.id, video.id)
            raise
        if isinstance(found, VideoTombstone) or found.status in ("completed", "failed"):
            self._pending.finish(tenant.id, video.id)
            return found, None
        return found, event

    def again(self, tenant: Tenant, video: VideoRecord) -> tuple[VideoUploaded, ...]:
        """The event of an accepted video, which may not have got out; none once the first stage has run."""
        if video.status != "accepted":
            return ()
        return (self._pending.admit(video_uploaded(tenant, video), self._clock.now() + self._due),)


def video_uploaded(tenant: Tenant, video: NewVideo | VideoRecord, etag: str | None = None) -> VideoUploaded:
    known = {"sha256": video.sha256, "etag": etag}
    metadata: dict[str, Any] = {name: value for name, value in known.items() if value is not None}
    return VideoUploaded(
        video_id=video.id,
        tenant_id=tenant.id,
        file_name=video.file_name,
        storage_path=video.storage_path,
        mime_type=video.mime_type,
        size_bytes=video.size_bytes,
        duration=0,
        uploaded_at=video.uploaded_at,
        metadata=metadata,
    )
