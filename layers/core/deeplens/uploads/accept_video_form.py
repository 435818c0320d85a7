"""Accepting a video that comes in a request."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from deeplens.common.ports import Clock, EventPublisher
from deeplens.common.publish import publish
from deeplens.errors import ApiError, QuotaExceeded
from deeplens.events.ids import follow_up_id
from deeplens.images.ports import ImageRepository
from deeplens.storage.ports import StoreResolver
from deeplens.tenants.limits import ResourceLimits, Storage, allowance
from deeplens.tenants.model import Tenant
from deeplens.uploads.accept_form import reused_key
from deeplens.uploads.quotas import check_ingestion, quota_exceeded
from deeplens.videos.accept import AcceptVideo
from deeplens.videos.keys import video_key
from deeplens.videos.model import NewVideo, VideoRecord, VideoRepository, VideoTombstone


@dataclass(frozen=True, slots=True)
class VideoUpload:
    """A file whose container was recognised.

    Attributes
    ----------
    keyed : whether its id is derived from an idempotency key, so that an earlier attempt may have left something.
    """

    video_id: str
    keyed: bool
    body: bytes = field(repr=False)
    file_name: str
    mime_type: str
    extension: str
    tags: tuple[str, ...]
    metadata: dict[str, Any]


class AcceptVideoUpload:
    """Accept the upload and publish its event; then it is accepted. A repeat does what is missing."""

    def __init__(
        self,
        accept: AcceptVideo,
        stores: StoreResolver,
        videos: VideoRepository,
        images: ImageRepository,
        publisher: EventPublisher,
        clock: Clock,
    ) -> None:
        self._accept, self._stores, self._videos, self._images = accept, stores, videos, images
        self._publisher, self._clock = publisher, clock

    def __call__(
        self, tenant: Tenant, upload: VideoUpload, limits: ResourceLimits, traceparent: str | None
    ) -> tuple[VideoRecord, bool]:
        """The video's row, and whether an earlier request had made it.

        Raises
        ------
        ApiError
            422 when the key came with other bytes before, 410 when its video was deleted, 413 beyond a quota, 429 while
            a budget is exhausted.
        DependencyUnavailable
            Nothing is lost; the same key resumes.
        """
        store, key = self._stores.for_tenant(tenant), video_key(upload.video_id, upload.extension)
        video = self._new_video(upload, store.uri(key))
        known = self._videos.find(tenant, video.id) if upload.keyed else None
        if known is None:
            check_ingestion(tenant, self._clock.now())
            self._check_quota(tenant, limits, len(upload.body))
        else:
            _same(known, video)
        try:
            found, event = self._accept(
                tenant, video, limits, store=lambda: store.put(key, upload.body, upload.mime_type)
            )
        except QuotaExceeded:
            store.delete([key])
            self._check_quota(tenant, limits, len(upload.body))
            raise ApiError(413, "quota-exceeded", "Quota exceeded", "Another upload was faster.") from None
        row = _same(found, video)
        if event is not None:
            publish(self._publisher, event, follow_up_id("upload", video.id, 0), traceparent)
        return row, known is not None

    def _new_video(self, upload: VideoUpload, storage_path: str) -> NewVideo:
        return NewVideo(
            id=upload.video_id,
            file_name=upload.file_name,
            storage_path=storage_path,
            mime_type=upload.mime_type,
            size_bytes=len(upload.body),
            uploaded_at=self._clock.now(),
            sha256=hashlib.sha256(upload.body).hexdigest(),
            tags=upload.tags,
            metadata=upload.metadata,
        )

    def _check_quota(self, tenant: Tenant, limits: ResourceLimits, size: int) -> None:
        """Asked first, so that what cannot be kept is not stored; the row's insertion decides."""
        if limits.max_bytes is None:
            return
        used, wanted = self._images.totals(tenant), Storage(0, size)
        allowed = allowance(limits, used, wanted)
        if allowed.exceeded:
            raise quota_exceeded(limits, used, wanted, allowed)


def _same(found: VideoRecord | VideoTombstone | None, video: NewVideo) -> VideoRecord:
    """The row of an idempotency key, if it is of these bytes and still there."""
    if isinstance(found, VideoTombstone):
        detail = "The video of this Idempotency-Key was deleted; upload it again under a new key."
        raise ApiError(410, "video-deleted", "Video deleted", detail)
    if found is None or found.sha256 != video.sha256:
        raise reused_key()
    return found
