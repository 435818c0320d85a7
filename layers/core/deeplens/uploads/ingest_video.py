"""Taking in a video that a client wrote to its tenant's store: copied, recognised, accepted."""

import hashlib

from deeplens.common.ports import Clock
from deeplens.errors import ChecksumMismatch, QuotaExceeded, StorageFull, TransientError
from deeplens.formats.errors import VideoTooLarge
from deeplens.formats.videos import VideoType, sniff_video
from deeplens.storage.ports import ObjectStore
from deeplens.tenants.limits import ResourceLimits
from deeplens.tenants.model import Tenant
from deeplens.uploads.check import head_of, within
from deeplens.uploads.model import DirectUpload
from deeplens.videos.accept import AcceptVideo
from deeplens.videos.decoding.limits import VideoLimits
from deeplens.videos.keys import video_key
from deeplens.videos.model import NewVideo, VideoRecord, VideoTombstone


class IngestVideo:
    """Copy first, look at the copy, as with images; but a video is never in memory as a whole."""

    def __init__(
        self, accept: AcceptVideo, video_limits: VideoLimits, default_limits: ResourceLimits, clock: Clock
    ) -> None:
        self._accept, self._limits, self._default_limits, self._clock = accept, video_limits, default_limits, clock

    def __call__(self, tenant: Tenant, upload: DirectUpload, store: ObjectStore) -> VideoRecord | VideoTombstone | None:
        """The video's row.

        Raises
        ------
        ObjectNotFound
            There is no such object (any more).
        InvalidVideo, FileTooLarge, ChecksumMismatch
        StorageFull
            Beyond the tenant's quota, with nothing left pending.
        TransientError
            Another file took its place meanwhile.
        """
        self._check_size(store, upload.key, upload)
        kind = sniff_video(head_of(store, upload.key))
        key = video_key(upload.video_id, kind.extension)
        store.copy(upload.key, key, kind.mime_type)
        size = self._check_size(store, key, upload)
        if sniff_video(head_of(store, key)) != kind:
            raise TransientError("another file took its place while it was read")
        if upload.sha256 is not None:
            _check_digest(store, key, upload.sha256)
        video = self._new_video(upload, store.uri(key), size, kind)
        try:
            return self._accept(tenant, video, tenant.limits.over(self._default_limits))[0]
        except QuotaExceeded as error:
            raise StorageFull(f"your tenant's quota has no room for this file: {error}") from error

    def _check_size(self, store: ObjectStore, key: str, upload: DirectUpload) -> int:
        size = store.head(key).size_bytes
        within(size, upload)
        if size > self._limits.max_bytes:
            raise VideoTooLarge(f"{size} bytes arrived; at most {self._limits.max_bytes} are taken of a video")
        return size

    def _new_video(self, upload: DirectUpload, path: str, size_bytes: int, kind: VideoType) -> NewVideo:
        return NewVideo(
            id=upload.video_id,
            file_name=upload.file_name,
            storage_path=path,
            mime_type=kind.mime_type,
            size_bytes=size_bytes,
            uploaded_at=self._clock.now(),
            sha256=upload.sha256,
            tags=upload.tags,
            metadata=upload.metadata,
        )


def _check_digest(store: ObjectStore, key: str, sha256: str) -> None:
    digest = hashlib.sha256()
    for chunk in store.stream(key):
        digest.update(chunk)
    if digest.hexdigest() != sha256:
        raise ChecksumMismatch(f"the SHA-256 of what arrived is {digest.hexdigest()}, not {sha256}")
