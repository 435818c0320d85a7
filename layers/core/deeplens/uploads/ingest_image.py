"""Taking in an image that a client wrote to its tenant's store: copied, checked, accepted."""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime

from deeplens.common.ports import Clock
from deeplens.duplicates.model import Duplicates
from deeplens.errors import DuplicateImage, FileTooLarge, QuotaExceeded, StorageFull, TransientError
from deeplens.events.images import ImageUploaded
from deeplens.formats.images import sniff
from deeplens.images.keys import original_key
from deeplens.images.model import ImageRecord, NewImage, Step, Tombstone
from deeplens.images.ports import ImageRepository, PendingDue, PendingImages
from deeplens.images.requests import image_uploaded
from deeplens.imaging import Limits, inspect
from deeplens.storage.ports import ObjectStore
from deeplens.tenants.limits import ResourceLimits
from deeplens.tenants.model import Tenant
from deeplens.uploads.check import check_digest, check_size, head_of
from deeplens.uploads.model import DirectUpload


@dataclass(frozen=True, slots=True)
class IngestImage:
    """Copy the file to where no client can write, check the copy, and accept it as ``POST /v1/images`` does.

    Whatever a client writes in the meantime, the checked copy is the original. What a stopped attempt leaves is
    found and resumed.

    Parameters
    ----------
    pending_due : age after which an unfinished image is sent again.
    """

    images: ImageRepository
    duplicates: Duplicates
    pending: PendingImages
    limits: Limits
    default_limits: ResourceLimits
    pending_due: PendingDue
    clock: Clock

    def __call__(self, tenant: Tenant, upload: DirectUpload, store: ObjectStore) -> ImageRecord | Tombstone:
        """The image's row.

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
        first = self._admitted(event)
        row = replace(image, storage_path=first.storage_path, uploaded_at=first.uploaded_at)
        try:
            found = self.images.insert(tenant, row, tenant.effective_limits(self.default_limits))
        except QuotaExceeded as error:
            raise StorageFull(f"your tenant's quota has no room for this file: {error}") from error
        if tenant.duplicates.action == "reject" and (same := self.duplicates.reserve(tenant, upload.image_id)):
            raise DuplicateImage(f"{same} has the same bytes, and this tenant rejects duplicate files")
        return found

    def events(self, tenant: Tenant, image: ImageRecord) -> tuple[ImageUploaded, ...]:
        """The event of an accepted image, which is pending again if it was not.

        None while the image waits for others of its tenant, and once the first stage has run.
        """
        if image.step is not Step.ACCEPTED:
            return ()
        admission = self.pending.admit(image_uploaded(tenant.id, image), self._due())
        return (admission.event,) if admission.released else ()

    def withdraw(self, tenant: Tenant, image_id: str) -> tuple[ImageUploaded, ...]:
        """Forget a pending image; returns the events of those that take its place."""
        return tuple(self.pending.finish([(tenant.id, image_id)], self._due()))

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
        header = inspect(body, self.limits)
        if header.type != kind:
            raise TransientError("another file replaced this one while it was read")
        image = NewImage(
            id=upload.image_id,
            file_name=upload.file_name,
            storage_path=store.uri(key),
            mime_type=kind.mime_type,
            size_bytes=len(body),
            sha256=digest,
            uploaded_at=self.clock.now(),
            tags=upload.tags,
            metadata=upload.metadata,
        )
        known = {"width": header.width, "height": header.height, "format": kind.format, "sha256": digest}
        return image, image_uploaded(tenant.id, image, known)

    def _admitted(self, event: ImageUploaded) -> ImageUploaded:
        admitted = self.pending.admit(event, self._due()).event
        if admitted.metadata.get("sha256") == event.metadata["sha256"]:
            return admitted
        # An attempt that stopped before the row had another file; its event was never published.
        self.pending.finish([(event.tenant_id, event.image_id)], self._due())
        return self.pending.admit(event, self._due()).event

    def _due(self) -> datetime:
        return self.clock.now() + self.pending_due
