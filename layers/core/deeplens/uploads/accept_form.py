"""Accepting an image that comes in a request, step by step, so that a repeat continues where it stopped."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deeplens.common.file_names import file_name_of
from deeplens.common.ports import Clock
from deeplens.duplicates.model import Duplicates
from deeplens.errors import ApiError, QuotaExceeded
from deeplens.events.ids import with_upload_id
from deeplens.events.images import ImageUploaded
from deeplens.formats.images import FileType
from deeplens.images.keys import original_key
from deeplens.images.model import ImageRecord, NewImage, Step, Tombstone
from deeplens.images.ports import Admission, ImageRepository, PendingDue, PendingImages
from deeplens.images.requests import image_uploaded
from deeplens.storage.ports import StoreResolver
from deeplens.tenants.limits import Allowance, ResourceLimits, Storage
from deeplens.tenants.model import Tenant
from deeplens.uploads.quotas import check_ingestion, granted

if TYPE_CHECKING:
    from deeplens.imaging import Limits


@dataclass(frozen=True, slots=True)
class Upload:
    """An image file whose header was checked.

    Attributes
    ----------
    image_id : new, or derived from the client's idempotency key.
    keyed : whether it was derived, so that an earlier attempt may have left something.
    width, height : pixels, by the header.
    """

    image_id: str
    keyed: bool
    body: bytes
    sha256: str
    file_name: str
    type: FileType
    width: int
    height: int
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] | None = None

    @property
    def size(self) -> Storage:
        return Storage(1, len(self.body))

    @property
    def key(self) -> str:
        return original_key(self.image_id, self.type.extension)


def checked_upload(
    image_id: str,
    body: bytes,
    file_name: str | None,
    limits: "Limits",
    *,
    keyed: bool,
    tags: tuple[str, ...],
    metadata: dict[str, Any],
) -> Upload:
    """Check the header of an image file. Raises ``InvalidImage``."""
    from deeplens.imaging import inspect

    header = inspect(body, limits)
    digest, name = hashlib.sha256(body).hexdigest(), file_name_of(file_name, header.type.extension)
    return Upload(image_id, keyed, body, digest, name, header.type, header.width, header.height, tags, metadata)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The upload is accepted once ``events`` are published.

    Attributes
    ----------
    replayed : whether an earlier request had made the row.
    left : what the tenant may still store.
    """

    image: ImageRecord
    replayed: bool
    left: Allowance
    events: tuple[ImageUploaded, ...]


@dataclass(frozen=True, slots=True)
class Rejected:
    """The upload was withdrawn because of ``error``; ``events`` are of other images that took its place."""

    error: ApiError
    events: tuple[ImageUploaded, ...]


@dataclass(frozen=True, slots=True)
class AcceptUpload:
    """Record the image as pending, store the original, write the row, and return the event to publish.

    A step that cannot be done raises ``DependencyUnavailable``. A repeat with the same idempotency key does what is
    missing: the id, and with it every row, object and event, is the same.

    Parameters
    ----------
    pending_due : age after which an unfinished image is sent again.
    """

    stores: StoreResolver
    images: ImageRepository
    duplicates: Duplicates
    pending: PendingImages
    clock: Clock
    pending_due: PendingDue

    def __call__(self, tenant: Tenant, upload: Upload, limits: ResourceLimits) -> Accepted | Rejected:
        """Accept an upload.

        Raises
        ------
        ApiError
            422 when the key came with other bytes before, 410 when its image was deleted, 413 beyond a quota, 429 while
            a budget is exhausted, 409 when the tenant rejects duplicate files and has this one.
        DependencyUnavailable
            Nothing is lost; the same key resumes.
        """
        known = self._known(tenant, upload)
        if known is not None:
            return Accepted(
                known, True, self._allowance(tenant, Storage(), limits), self._events_of_accepted(tenant, known)
            )
        check_ingestion(tenant, self.clock.now())
        # Quotas and duplicates are checked before anything is stored; the row's insertion decides.
        if tenant.duplicates.action == "reject":
            for same in self.duplicates.images_with_same_bytes(tenant, [upload.sha256], 1).values():
                raise duplicate_image(same[0])
        return self._accept_new(tenant, upload, limits, self._allowance(tenant, upload.size, limits))

    def resume(self, tenant: Tenant, image_id: str) -> tuple[ImageUploaded, ...]:
        """Return the event of an accepted image once more, unless the image was processed since or is deleted."""
        found = self.images.find(tenant, [image_id]).get(image_id)
        return self._events_of_accepted(tenant, found) if isinstance(found, ImageRecord) else ()

    def _allowance(self, tenant: Tenant, wanted: Storage, limits: ResourceLimits) -> Allowance:
        """What remains after ``wanted``. Raises 413 where that does not fit."""
        limited = limits.max_images is not None or limits.max_bytes is not None
        return granted(limits, self.images.totals(tenant) if limited else Storage(), wanted)

    def _known(self, tenant: Tenant, upload: Upload) -> ImageRecord | None:
        found = self.images.find(tenant, [upload.image_id]).get(upload.image_id) if upload.keyed else None
        return None if found is None else same_upload(found, upload)

    def _accept_new(
        self, tenant: Tenant, upload: Upload, limits: ResourceLimits, left: Allowance
    ) -> Accepted | Rejected:
        released: tuple[ImageUploaded, ...] = ()
        while True:
            try:
                inserted, admission = self._write(tenant, upload, limits)
                break
            except QuotaExceeded as error:
                released += self._withdraw(tenant, upload)
                if (beyond := self._beyond_quota(tenant, upload, limits, error)) is not None:
                    return Rejected(beyond, released)
                # The key was sent twice at once, and the other request was faster: write again what was withdrawn.
        # Another request with this key may have been faster, with other bytes or not.
        image = same_upload(inserted, upload)
        if tenant.duplicates.action == "reject" and (same := self.duplicates.reserve(tenant, image.id)):
            return Rejected(duplicate_image(same), released + self._withdraw(tenant, upload))
        return Accepted(image, False, left, released + _publishable(admission))

    def _write(
        self, tenant: Tenant, upload: Upload, limits: ResourceLimits
    ) -> tuple[ImageRecord | Tombstone, Admission]:
        """Write the pending row, the object and the image's row, in this order. Raises ``QuotaExceeded``."""
        store, now = self.stores.for_tenant(tenant), self.clock.now()
        image = NewImage(
            id=upload.image_id,
            file_name=upload.file_name,
            storage_path=store.uri(upload.key),
            mime_type=upload.type.mime_type,
            size_bytes=len(upload.body),
            sha256=upload.sha256,
            uploaded_at=now,
            tags=upload.tags,
            metadata=upload.metadata or {},
        )
        header = {"width": upload.width, "height": upload.height, "format": upload.type.format}
        event = image_uploaded(tenant.id, image, header | {"sha256": upload.sha256})
        admission = self.pending.admit(event, now + self.pending_due)
        first = admission.event
        # Checked before the put: other bytes under this key must not replace an object that was accepted.
        check_same_bytes(first.metadata.get("sha256"), upload)
        store.put(upload.key, upload.body, upload.type.mime_type)
        row = replace(image, storage_path=first.storage_path, uploaded_at=first.uploaded_at)
        return self.images.insert(tenant, row, limits), admission

    def _beyond_quota(
        self, tenant: Tenant, upload: Upload, limits: ResourceLimits, error: QuotaExceeded
    ) -> ApiError | None:
        """The answer to an upload that does not fit; None where it may be written again."""
        try:
            if self._known(tenant, upload) is None:
                granted(limits, Storage(error.images, error.bytes), upload.size)
        except ApiError as refusal:
            return refusal
        return None

    def _withdraw(self, tenant: Tenant, upload: Upload) -> tuple[ImageUploaded, ...]:
        """Remove what was written, and return the events of the images that take its place among the pending ones."""
        self.stores.for_tenant(tenant).delete([upload.key])
        due = self.clock.now() + self.pending_due
        return _with_ids(self.pending.finish([(tenant.id, upload.image_id)], due))

    def _events_of_accepted(self, tenant: Tenant, image: ImageRecord) -> tuple[ImageUploaded, ...]:
        """The event of an image that the first stage has not processed yet: it may never have been published."""
        if image.step is not Step.ACCEPTED:
            return ()
        due = self.clock.now() + self.pending_due
        return _publishable(self.pending.admit(image_uploaded(tenant.id, image), due))


def _publishable(admission: Admission) -> tuple[ImageUploaded, ...]:
    return _with_ids([admission.event] if admission.released else [])


def _with_ids(events: Iterable[ImageUploaded]) -> tuple[ImageUploaded, ...]:
    return tuple(map(with_upload_id, events))


def same_upload(found: ImageRecord | Tombstone, upload: Upload) -> ImageRecord:
    """The row of an idempotency key, if it has these bytes and was not deleted."""
    if isinstance(found, Tombstone):
        detail = "The image of this Idempotency-Key was deleted; upload it again under a new key."
        raise ApiError(410, "image-deleted", "Image deleted", detail)
    check_same_bytes(found.sha256, upload)
    return found


def check_same_bytes(sha256: str | None, upload: Upload) -> None:
    """Refuse an idempotency key that came with another file before."""
    if sha256 != upload.sha256:
        raise reused_key()


def reused_key() -> ApiError:
    detail = "This Idempotency-Key was used for another file; every upload needs its own key."
    return ApiError(422, "idempotency-key-reused", "Idempotency-Key reused", detail)


def duplicate_image(same: str) -> ApiError:
    detail = f"{same} has the same bytes, and this tenant rejects duplicate files."
    return ApiError(409, "duplicate-image", "Duplicate image", detail, {"Location": f"/v1/images/{same}"})
