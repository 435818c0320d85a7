"""Accepting an image whose file is in its place already: pending, then its row, then its event."""

from datetime import datetime

from deeplens.duplicates.model import Duplicates
from deeplens.errors import DuplicateImage, QuotaExceeded, StorageFull
from deeplens.events.images import ImageUploaded
from deeplens.images.model import ImageRecord, NewImage, Tombstone
from deeplens.images.ports import ImageRepository, PendingDue, PendingImages
from deeplens.storage.ports import ObjectStore
from deeplens.tenants.limits import ResourceLimits
from deeplens.tenants.model import Tenant
from deeplens.uploads.check import Original
from deeplens.uploads.model import DirectUpload


class Accept:
    """The order is that of ``POST /v1/images``, so that stopping anywhere leaves what is found and resumed.

    Parameters
    ----------
    pending_due : age after which an unfinished image is sent again.
    """

    def __init__(
        self,
        images: ImageRepository,
        duplicates: Duplicates,
        pending: PendingImages,
        default_limits: ResourceLimits,
        pending_due: PendingDue,
    ) -> None:
        self._images, self._duplicates, self._pending = images, duplicates, pending
        self._default_limits, self._pending_due = default_limits, pending_due

    def __call__(
        self, tenant: Tenant, upload: DirectUpload, original: Original, store: ObjectStore, now: datetime
    ) -> ImageRecord | Tombstone:
        """The image's row.

        Raises
        ------
        StorageFull
            Beyond the tenant's quota, with nothing left pending.
        DuplicateImage
            The tenant takes no file twice and has this one; the row is given up.
        """
        event = self._admitted(_event(tenant, upload, original, store.uri(original.key), now), now)
        limits = tenant.limits.over(self._default_limits)
        try:
            image = self._images.insert(tenant, _row(upload, original, event), limits)
        except QuotaExceeded as error:
            raise StorageFull(f"your tenant's quota has no room for this file: {error}") from error
        if tenant.duplicates.action == "reject" and (twin := self._duplicates.reserve(tenant, upload.image_id)):
            raise DuplicateImage(f"{twin} has the same bytes, and this tenant takes no file twice")
        return image

    def events(self, tenant: Tenant, image: ImageRecord, now: datetime) -> tuple[ImageUploaded, ...]:
        """What processes an accepted image, if the tenant's window has a place for it; pending again if it was not."""
        event = ImageUploaded(
            image_id=image.id,
            tenant_id=tenant.id,
            file_name=image.file_name,
            storage_path=image.storage_path,
            mime_type=image.mime_type,
            size_bytes=image.size_bytes,
            uploaded_at=image.uploaded_at,
            metadata={"sha256": image.sha256},
            generation=image.generation if image.generation > 1 else None,
        )
        admission = self._pending.admit(event, now + self._pending_due)
        return (admission.event,) if admission.released else ()

    def _admitted(self, event: ImageUploaded, now: datetime) -> ImageUploaded:
        due = now + self._pending_due
        admitted = self._pending.admit(event, due).event
        if admitted.metadata.get("sha256") == event.metadata["sha256"]:
            return admitted
        # An attempt that stopped before the row had another file; nobody was told of it.
        self._pending.finish([(event.tenant_id, event.image_id)], due)
        return self._pending.admit(event, due).event


def _event(tenant: Tenant, upload: DirectUpload, original: Original, path: str, now: datetime) -> ImageUploaded:
    return ImageUploaded(
        image_id=upload.image_id,
        tenant_id=tenant.id,
        file_name=upload.file_name,
        storage_path=path,
        mime_type=original.type.mime_type,
        size_bytes=original.size_bytes,
        uploaded_at=now,
        metadata={
            "width": original.width,
            "height": original.height,
            "format": original.type.format,
            "sha256": original.sha256,
        },
    )


def _row(upload: DirectUpload, original: Original, event: ImageUploaded) -> NewImage:
    return NewImage(
        id=upload.image_id,
        file_name=upload.file_name,
        storage_path=event.storage_path,
        mime_type=original.type.mime_type,
        size_bytes=original.size_bytes,
        sha256=original.sha256,
        uploaded_at=event.uploaded_at,
        tags=upload.tags,
        metadata=upload.metadata,
    )
