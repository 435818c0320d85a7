"""Accepting an image whose file is in its place already: pending, then its row, then its event."""

from datetime import datetime, timedelta

from deeplens.contracts.events import ImageUploaded
from deeplens.direct_uploads import DirectUpload
from deeplens.domain import ImageRecord, NewImage, Tenant, Tombstone
from deeplens.errors import QuotaExceeded, StorageFull
from deeplens.limits import ResourceLimits
from deeplens.pipeline.check_upload import Original
from deeplens.ports import ImageRepository, ObjectStore, PendingImages


class Accept:
    """The order is that of ``POST /v1/images``, so that stopping anywhere leaves what is found and resumed.

    Parameters
    ----------
    pending_due : age after which an unfinished image is sent again.
    """

    def __init__(
        self,
        images: ImageRepository,
        pending: PendingImages,
        default_limits: ResourceLimits,
        pending_due: timedelta,
    ) -> None:
        self._images, self._pending = images, pending
        self._default_limits, self._pending_due = default_limits, pending_due

    def __call__(
        self, tenant: Tenant, upload: DirectUpload, original: Original, store: ObjectStore, now: datetime
    ) -> ImageRecord | Tombstone:
        """The image's row. Raises ``StorageFull`` beyond the tenant's quota, with nothing left pending."""
        event = self._admitted(_event(tenant, upload, original, store.uri(original.key), now), now)
        limits = tenant.limits.over(self._default_limits)
        try:
            return self._images.insert(tenant, _row(upload, original, event), limits)
        except QuotaExceeded as error:
            raise StorageFull(f"your tenant's quota has no room for this file: {error}") from error

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
