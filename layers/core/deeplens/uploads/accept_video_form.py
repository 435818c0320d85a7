"""Accepting a video that comes in a request."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from deeplens.common.file_names import file_name_of
from deeplens.common.ports import Clock
from deeplens.errors import ApiError, QuotaExceeded
from deeplens.events.ids import follow_up_id
from deeplens.events.videos import VideoUploaded
from deeplens.formats.videos import HEAD_BYTES, VideoType, sniff_video
from deeplens.images.model import Tombstone
from deeplens.images.ports import ImageRepository
from deeplens.storage.ports import StoreResolver
from deeplens.tenants.limits import ResourceLimits, Storage
from deeplens.tenants.model import Tenant
from deeplens.uploads.accept_form import reused_key
from deeplens.uploads.quotas import check_ingestion, granted
from deeplens.videos.accept import AcceptVideo
from deeplens.videos.keys import video_key
from deeplens.videos.model import NewVideo, VideoRecord, VideoRepository


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
    type: VideoType
    tags: tuple[str, ...]
    metadata: dict[str, Any]


def checked_video_upload(
    video_id: str,
    body: bytes,
    file_name: str | None,
    *,
    keyed: bool,
    tags: tuple[str, ...],
    metadata: dict[str, Any],
) -> VideoUpload:
    """Recognise the container of a video file. Raises ``VideoFormatUnsupported``."""
    kind = sniff_video(body[:HEAD_BYTES])
    return VideoUpload(video_id, keyed, body, file_name_of(file_name, kind.extension, "video"), kind, tags, metadata)


@dataclass(frozen=True, slots=True)
class AcceptedVideoUpload:
    """The upload is accepted once ``events`` are published; ``replayed`` when an earlier request had made the row."""

    video: VideoRecord
    replayed: bool
    events: tuple[VideoUploaded, ...]


@dataclass(frozen=True, slots=True)
class AcceptVideoUpload:
    """Accept the upload and return its event. A repeat does what is missing."""

    accept: AcceptVideo
    stores: StoreResolver
    videos: VideoRepository
    images: ImageRepository
    clock: Clock

    def __call__(self, tenant: Tenant, upload: VideoUpload, limits: ResourceLimits) -> AcceptedVideoUpload:
        """Accept an upload.

        Raises
        ------
        ApiError
            422 when the key came with other bytes before, 410 when its video was deleted, 413 beyond a quota, 429 while
            a budget is exhausted.
        DependencyUnavailable
            Nothing is lost; the same key resumes.
        """
        store, key = self.stores.for_tenant(tenant), video_key(upload.video_id, upload.type.extension)
        video = self._new_video(upload, store.uri(key))
        known = self.videos.find(tenant, video.id) if upload.keyed else None
        if known is None:
            check_ingestion(tenant, self.clock.now())
            self._check_quota(tenant, limits, len(upload.body))
        else:
            _same(known, video)
        try:
            found, event = self.accept(
                tenant, video, limits, store=lambda: store.put(key, upload.body, upload.type.mime_type)
            )
        except QuotaExceeded:
            store.delete([key])
            self._check_quota(tenant, limits, len(upload.body))
            raise ApiError(413, "quota-exceeded", "Quota exceeded", "Another upload was faster.") from None
        row = _same(found, video)
        event_id = follow_up_id("upload", video.id, 0)
        events = (event.model_copy(update={"event_id": event_id}),) if event else ()
        return AcceptedVideoUpload(row, known is not None, events)

    def _new_video(self, upload: VideoUpload, storage_path: str) -> NewVideo:
        return NewVideo(
            id=upload.video_id,
            file_name=upload.file_name,
            storage_path=storage_path,
            mime_type=upload.type.mime_type,
            size_bytes=len(upload.body),
            uploaded_at=self.clock.now(),
            sha256=hashlib.sha256(upload.body).hexdigest(),
            tags=upload.tags,
            metadata=upload.metadata,
        )

    def _check_quota(self, tenant: Tenant, limits: ResourceLimits, size: int) -> None:
        """Check the quota before anything is stored; the row's insertion decides."""
        if limits.max_bytes is not None:
            granted(limits, self.images.totals(tenant), Storage(0, size))


def _same(found: VideoRecord | Tombstone | None, video: NewVideo) -> VideoRecord:
    """The row of an idempotency key, if it has these bytes and was not deleted."""
    if isinstance(found, Tombstone):
        detail = "The video of this Idempotency-Key was deleted; upload it again under a new key."
        raise ApiError(410, "video-deleted", "Video deleted", detail)
    if found is None or found.sha256 != video.sha256:
        raise reused_key()
    return found
