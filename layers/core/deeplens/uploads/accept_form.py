"""Accepting an upload, step by step, so that it can stop anywhere and be taken up again."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deeplens.common.outgoing import OutgoingMessage
from deeplens.common.ports import Clock, EventPublisher
from deeplens.duplicates.model import Duplicates
from deeplens.errors import ApiError, BrokerUnavailable, QuotaExceeded
from deeplens.events.ids import upload_id
from deeplens.events.images import ImageUploaded
from deeplens.images.keys import original_key
from deeplens.images.model import ImageRecord, NewImage, Step, Tombstone
from deeplens.images.ports import ImageRepository, PendingDue, PendingImages
from deeplens.storage.ports import StoreResolver
from deeplens.tenants.limits import Allowance, ResourceLimits, Storage
from deeplens.tenants.model import Tenant
from deeplens.uploads.quotas import check_ingestion, granted


@dataclass(frozen=True, slots=True)
class Upload:
    """A file whose header was found good.

    Attributes
    ----------
    image_id : new, or derived from the client's idempotency key.
    keyed : whether it was, so that an earlier attempt may have left something.
    width, height : pixels, by the header.
    """

    image_id: str
    keyed: bool
    body: bytes
    sha256: str
    file_name: str
    mime_type: str
    extension: str
    format: str
    width: int
    height: int
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] | None = None

    @property
    def needs(self) -> Storage:
        return Storage(1, len(self.body))


@dataclass(frozen=True, slots=True)
class Accepted:
    """``replayed`` when an earlier request had already made the row; ``left`` is what the tenant may still store."""

    image: ImageRecord
    replayed: bool
    left: Allowance


class AcceptUpload:
    """Remember the image as pending, store the original, write the row, publish the event; then it is accepted.

    A step that cannot be done raises ``DependencyUnavailable``. A repeat with the same idempotency key does what is
    missing: the id, and with it every row, object and event, is the same.

    Parameters
    ----------
    pending_due : age after which an unfinished image is sent again.
    """

    def __init__(
        self,
        stores: StoreResolver,
        images: ImageRepository,
        duplicates: Duplicates,
        pending: PendingImages,
        publisher: EventPublisher,
        clock: Clock,
        pending_due: PendingDue,
    ) -> None:
        self._stores, self._images, self._duplicates, self._pending = stores, images, duplicates, pending
        self._publisher, self._clock, self._pending_due = publisher, clock, pending_due

    def __call__(
        self, tenant: Tenant, upload: Upload, limits: ResourceLimits, traceparent: str | None = None
    ) -> Accepted:
        """Accept an upload.

        Raises
        ------
        ApiError
            422 when the key came with other bytes before, 410 when its image was deleted, 413 beyond a quota, 429 while
            a budget is exhausted, 409 when the tenant wants no file twice and has this one.
        DependencyUnavailable
            Nothing is lost; the same key resumes.
        """
        known = self._known(tenant, upload)
        if known is not None:
            self._resume(tenant, known, traceparent)
            return Accepted(known, True, self._allowance(tenant, Storage(), limits))
        check_ingestion(tenant, self._clock.now())
        # Asked first, so that what cannot be kept is not stored; the row's insertion decides.
        if tenant.duplicates.action == "reject":
            twins = self._duplicates.twins(tenant, [upload.sha256], 1)
            if upload.sha256 in twins:
                raise duplicate_image(twins[upload.sha256][0])
        left = self._allowance(tenant, upload.needs, limits)
        return Accepted(self._begin(tenant, upload, limits, traceparent), False, left)

    def resume(self, tenant: Tenant, image_id: str, traceparent: str | None = None) -> None:
        """Publish the event of an accepted image once more, unless it has gone on or is gone."""
        found = self._images.find(tenant, [image_id]).get(image_id)
        if isinstance(found, ImageRecord):
            self._resume(tenant, found, traceparent)

    def _allowance(self, tenant: Tenant, wanted: Storage, limits: ResourceLimits) -> Allowance:
        """What remains, after ``wanted``. Raises 413 where that does not fit."""
        limited = limits.max_images is not None or limits.max_bytes is not None
        used = self._images.totals(tenant) if limited else Storage()
        return granted(limits, used, wanted)

    def _known(self, tenant: Tenant, upload: Upload) -> ImageRecord | None:
        if not upload.keyed:
            return None
        found = self._images.find(tenant, [upload.image_id]).get(upload.image_id)
        return None if found is None else same_upload(found, upload)

    def _begin(self, tenant: Tenant, upload: Upload, limits: ResourceLimits, traceparent: str | None) -> ImageRecord:
        store, now = self._stores.for_tenant(tenant), self._clock.now()
        key = original_key(upload.image_id, upload.extension)
        event = _event(tenant, upload, store.uri(key), now)
        admission = self._pending.admit(event, now + self._pending_due)
        # Refused before the put: other bytes under this key must not replace an object that was accepted.
        same_bytes(admission.event.metadata.get("sha256"), upload)
        event = admission.event
        store.put(key, upload.body, upload.mime_type)
        try:
            inserted = self._images.insert(tenant, _new_image(upload, event), limits)
        except QuotaExceeded as error:
            self._withdraw(tenant, upload, key)
            if self._known(tenant, upload) is None:
                granted(limits, Storage(error.images, error.bytes), upload.needs)
            # The same key was sent twice at once, and the other request was in time: give back what was taken from it.
            return self._begin(tenant, upload, limits, traceparent)
        # Another request with this key may have been faster, with other bytes or not.
        image = same_upload(inserted, upload)
        if tenant.duplicates.action == "reject" and (twin := self._duplicates.reserve(tenant, image.id)):
            self._withdraw(tenant, upload, key)
            raise duplicate_image(twin)
        if admission.released:
            self._publish(event, traceparent)
        return image

    def _withdraw(self, tenant: Tenant, upload: Upload, key: str) -> None:
        """Undo what was written for an image that came too late: for the last place, or after its twin."""
        self._stores.for_tenant(tenant).delete([key])
        due = self._clock.now() + self._pending_due
        for released in self._pending.finish([(tenant.id, upload.image_id)], due):
            self._publish(released, None)

    def _resume(self, tenant: Tenant, image: ImageRecord, traceparent: str | None) -> None:
        """The row exists, so the object does; whether the event got out is unknown until the first stage has run."""
        if image.step is Step.ACCEPTED:
            event = event_of(tenant, image)
            if self._pending.admit(event, self._clock.now() + self._pending_due).released:
                self._publish(event, traceparent)

    def _publish(self, event: ImageUploaded, traceparent: str | None) -> None:
        if self._publisher.publish([OutgoingMessage(event, upload_id(event), traceparent)]) != [True]:
            raise BrokerUnavailable("the upload's event was not delivered", retry_after_seconds=2)


def same_upload(found: ImageRecord | Tombstone, upload: Upload) -> ImageRecord:
    """The row of an idempotency key, if it is of these bytes and still there."""
    if isinstance(found, Tombstone):
        detail = "The image of this Idempotency-Key was deleted; upload it again under a new key."
        raise ApiError(410, "image-deleted", "Image deleted", detail)
    same_bytes(found.sha256, upload)
    return found


def same_bytes(sha256: str | None, upload: Upload) -> None:
    """Refuse an idempotency key that came with another file before."""
    if sha256 != upload.sha256:
        raise reused_key()


def reused_key() -> ApiError:
    detail = "This Idempotency-Key was used for another file; every upload needs its own key."
    return ApiError(422, "idempotency-key-reused", "Idempotency-Key reused", detail)


def duplicate_image(twin: str) -> ApiError:
    detail = f"{twin} has the same bytes, and this tenant takes no file twice."
    return ApiError(409, "duplicate-image", "Duplicate image", detail, {"Location": f"/v1/images/{twin}"})


def _event(tenant: Tenant, upload: Upload, storage_path: str, now: datetime) -> ImageUploaded:
    return ImageUploaded(
        image_id=upload.image_id,
        tenant_id=tenant.id,
        file_name=upload.file_name,
        storage_path=storage_path,
        mime_type=upload.mime_type,
        size_bytes=len(upload.body),
        uploaded_at=now,
        metadata={
            "width": upload.width,
            "height": upload.height,
            "format": upload.format,
            "sha256": upload.sha256,
        },
    )


def event_of(tenant: Tenant, image: ImageRecord) -> ImageUploaded:
    """The event that processes an accepted image, made from its row."""
    return ImageUploaded(
        image_id=image.id,
        tenant_id=tenant.id,
        file_name=image.file_name,
        storage_path=image.storage_path,
        mime_type=image.mime_type,
        size_bytes=image.size_bytes,
        uploaded_at=image.uploaded_at,
        metadata={"sha256": image.sha256},
        generation=image.generation if image.generation > 1 else None,
        video_id=image.video_id,
        frame_offset_seconds=image.frame_offset_seconds,
    )


def _new_image(upload: Upload, event: ImageUploaded) -> NewImage:
    return NewImage(
        id=upload.image_id,
        file_name=upload.file_name,
        storage_path=event.storage_path,
        mime_type=upload.mime_type,
        size_bytes=len(upload.body),
        sha256=upload.sha256,
        uploaded_at=event.uploaded_at,
        tags=upload.tags,
        metadata=upload.metadata or {},
    )
