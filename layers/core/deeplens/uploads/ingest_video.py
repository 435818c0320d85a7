"""Taking in a video that a client wrote to its tenant's store: copied, recognised, accepted."""

import hashlib
from dataclasses import dataclass

from deeplens.common.ports import Clock
from deeplens.errors import QuotaExceeded, StorageFull, TransientError
from deeplens.events.videos import VideoUploaded
from deeplens.formats.errors import VideoTooLarge
from deeplens.formats.videos import sniff_video
from deeplens.images.model import Tombstone
from deeplens.storage.ports import ObjectStore
from deeplens.tenants.limits import ResourceLimits
from deeplens.tenants.model import Tenant
from deeplens.uploads.check import check_digest, check_size, head_of
from deeplens.uploads.model import DirectUpload
from deeplens.videos.accept import AcceptVideo
from deeplens.videos.decoding.limits import VideoLimits
from deeplens.videos.keys import video_key
from deeplens.videos.model import NewVideo, VideoRecord


@dataclass(frozen=True, slots=True)
class IngestVideo:
    """Copy the file and check the copy, as with images; but a video is never in memory as a whole."""

    accept: AcceptVideo
    video_limits: VideoLimits
    default_limits: ResourceLimits
    clock: Clock

    def __call__(self, tenant: Tenant, upload: DirectUpload, store: ObjectStore) -> VideoRecord | Tombstone | None:
        """The video's row.

        Raises
        ------
        ObjectNotFound
            There is no such object (any more).
        InvalidVideo, FileTooLarge, ChecksumMismatch
        StorageFull
            Beyond the tenant's quota, with nothing left pending.
        TransientError
            Another file replaced this one meanwhile.
        """
        self._check_size(store, upload.key, upload)
        kind = sniff_video(head_of(store, upload.key))
        key = video_key(upload.video_id, kind.extension)
        store.copy(upload.key, key, kind.mime_type)
        size = self._check_size(store, key, upload)
        if sniff_video(head_of(store, key)) != kind:
            raise TransientError("another file replaced this one while it was read")
        if upload.sha256 is not None:
            check_digest(_digest(store, key), upload)
        video = NewVideo(
            id=upload.video_id,
            file_name=upload.file_name,
            storage_path=store.uri(key),
            mime_type=kind.mime_type,
            size_bytes=size,
            uploaded_at=self.clock.now(),
            sha256=upload.sha256,
            tags=upload.tags,
            metadata=upload.metadata,
        )
        try:
            return self.accept(tenant, video, tenant.effective_limits(self.default_limits))[0]
        except QuotaExceeded as error:
            raise StorageFull(f"your tenant's quota has no room for this file: {error}") from error

    def events(self, tenant: Tenant, video: VideoRecord) -> tuple[VideoUploaded, ...]:
        """The event of an accepted video; none once the first stage has run."""
        return self.accept.again(tenant, video)

    def _check_size(self, store: ObjectStore, key: str, upload: DirectUpload) -> int:
        size = store.head(key).size_bytes
        check_size(size, upload)
        if size > self.video_limits.max_bytes:
            raise VideoTooLarge(f"{size} bytes arrived; a video may have at most {self.video_limits.max_bytes}")
        return size


def _digest(store: ObjectStore, key: str) -> str:
    digest = hashlib.sha256()
    for chunk in store.stream(key):
        digest.update(chunk)
    return digest.hexdigest()
