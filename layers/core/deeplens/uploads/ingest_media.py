"""Taking in a file that a client wrote to its tenant's store: copied, recognised, checked, accepted."""

import hashlib
from dataclasses import dataclass, replace

from deeplens.common.ports import Clock
from deeplens.duplicates.model import Duplicates
from deeplens.errors import (
    ChecksumMismatch,
    DuplicateImage,
    FileTooLarge,
    QuotaExceeded,
    StorageFull,
    TransientError,
)
from deeplens.events.images import ImageUploaded
from deeplens.formats.errors import VideoTooLarge
from deeplens.formats.images import sniff
from deeplens.formats.videos import HEAD_BYTES, sniff_video
from deeplens.images.admit import AdmitImages
from deeplens.images.keys import original_key
from deeplens.images.model import ImageRecord, NewImage, Tombstone
from deeplens.images.ports import ImageRepository
from deeplens.images.requests import image_uploaded
from deeplens.imaging.decoder import ImageDecoder
from deeplens.imaging.limits import Limits
from deeplens.storage.ports import ObjectStore
from deeplens.tenants.limits import ResourceLimits
from deeplens.tenants.model import Tenant
from deeplens.uploads.model import DirectUpload
from deeplens.videos.accept import AcceptVideo
from deeplens.videos.decoding.limits import VideoLimits
from deeplens.videos.model import NewVideo, VideoRecord


@dataclass(frozen=True, slots=True)
class IngestImage:
    """Copy the file to where no client can write, check the copy, and accept it as ``POST /v1/images`` does.

    Whatever a client writes in the meantime, the checked copy is the original. What a stopped attempt leaves is
    found and resumed.
    """

    images: ImageRepository
    duplicates: Duplicates
    admit_images: AdmitImages
    limits: Limits
    decoder: ImageDecoder
    default_limits: ResourceLimits
    clock: Clock

    def __call__(
        self, tenant: Tenant, upload: DirectUpload, store: ObjectStore, released: list[ImageUploaded]
    ) -> ImageRecord | Tombstone:
        """The image's row.

        Parameters
        ----------
        released : gets the events of other images that took the place of a withdrawn file; to be published.

        Raises
        ------
        ObjectNotFound
            There is no such object (any more).
        InvalidImage
            The file is larger than declared, has another digest, or is no image that is accepted.
        StorageFull
            Beyond the tenant's quota, with nothing left pending.
        DuplicateImage
            The tenant rejects duplicate files and has this one; the row is given up.
        TransientError
            Another file replaced this one meanwhile.
        """
        image, event = self._checked_copy(tenant, upload, store)
        first = self._admit(tenant, event, released)
        row = replace(image, storage_path=first.storage_path, uploaded_at=first.uploaded_at)
        try:
            found = self.images.insert(tenant, row, tenant.effective_limits(self.default_limits))
        except QuotaExceeded as error:
            raise storage_full(error) from error
        if tenant.duplicates.action == "reject" and (same := self.duplicates.reserve(tenant, upload.image_id)):
            raise DuplicateImage(f"{same} has the same bytes, and this tenant rejects duplicate files")
        return found

    def _checked_copy(self, tenant: Tenant, upload: DirectUpload, store: ObjectStore) -> tuple[NewImage, ImageUploaded]:
        """The image, of a checked copy below ``images/``, and its event."""
        check_size(size := store.head(upload.key).size_bytes, upload)
        if size > self.limits.max_bytes:
            raise FileTooLarge(f"{size} bytes arrived; an image may have at most {self.limits.max_bytes}")
        kind = sniff(head_of(store, upload.key))
        key = original_key(upload.image_id, kind.extension)
        store.copy(upload.key, key, kind.mime_type)
        body = store.get(key)
        check_size(len(body), upload)
        check_digest(digest := hashlib.sha256(body).hexdigest(), upload)
        header = self.decoder.inspect(body)
        if header.type != kind:
            raise replaced_meanwhile()
        now = self.clock.now()
        image = upload.as_row(NewImage, upload.image_id, store.uri(key), kind.mime_type, len(body), digest, now)
        known = {"width": header.width, "height": header.height, "format": kind.format, "sha256": digest}
        return image, image_uploaded(tenant.id, image, known)

    def _admit(self, tenant: Tenant, event: ImageUploaded, released: list[ImageUploaded]) -> ImageUploaded:
        admitted = self.admit_images.admit(event).event
        if admitted.metadata.get("sha256") == event.metadata["sha256"]:
            return admitted
        # An attempt that stopped before the row had another file; its event was never published.
        released += self.admit_images.withdraw(tenant, event.image_id)
        return self.admit_images.admit(event).event


@dataclass(frozen=True, slots=True)
class IngestVideo:
    """Copy the file and check the copy, as with images; but a video is never in memory as a whole."""

    accept: AcceptVideo
    video_limits: VideoLimits
    default_limits: ResourceLimits
    clock: Clock

    def __call__(self, tenant: Tenant, upload: DirectUpload, store: ObjectStore) -> VideoRecord | Tombstone | None:
        """The video's row. Raises ``InvalidVideo``, and as ``IngestImage`` does."""
        self._check_size(store, upload.key, upload)
        kind = sniff_video(head_of(store, upload.key))
        key = original_key(upload.video_id, kind.extension)
        store.copy(upload.key, key, kind.mime_type)
        size = self._check_size(store, key, upload)
        if sniff_video(head_of(store, key)) != kind:
            raise replaced_meanwhile()
        if upload.sha256 is not None:
            check_digest(digest_of(store, key), upload)
        now = self.clock.now()
        video = upload.as_row(NewVideo, upload.video_id, store.uri(key), kind.mime_type, size, upload.sha256, now)
        try:
            return self.accept(tenant, video, tenant.effective_limits(self.default_limits))[0]
        except QuotaExceeded as error:
            raise storage_full(error) from error

    def _check_size(self, store: ObjectStore, key: str, upload: DirectUpload) -> int:
        size = store.head(key).size_bytes
        check_size(size, upload)
        if size > self.video_limits.max_bytes:
            raise VideoTooLarge(f"{size} bytes arrived; a video may have at most {self.video_limits.max_bytes}")
        return size


def check_size(size_bytes: int, upload: DirectUpload) -> None:
    """Raise ``FileTooLarge`` where more arrived than was declared."""
    if size_bytes > upload.size_bytes:
        raise FileTooLarge(f"{size_bytes} bytes arrived, {upload.size_bytes} were declared")


def check_digest(sha256: str, upload: DirectUpload) -> None:
    """Raise ``ChecksumMismatch`` where another digest was declared."""
    if upload.sha256 not in (None, sha256):
        raise ChecksumMismatch(f"the SHA-256 of what arrived is {sha256}, not {upload.sha256}")


def head_of(store: ObjectStore, key: str) -> bytes:
    """Enough of an object to tell its format."""
    return next(iter(store.stream(key, HEAD_BYTES)), b"")


def digest_of(store: ObjectStore, key: str) -> str:
    digest = hashlib.sha256()
    for chunk in store.stream(key):
        digest.update(chunk)
    return digest.hexdigest()


def replaced_meanwhile() -> TransientError:
    return TransientError("another file replaced this one while it was read")


def storage_full(error: QuotaExceeded) -> StorageFull:
    return StorageFull(f"your tenant's quota has no room for this file: {error}")
