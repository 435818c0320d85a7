"""Accepting an image or a video that comes in a request, step by step, so that a repeat continues where it stopped."""

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from deeplens.common.file_names import file_name_of
from deeplens.common.ports import Clock
from deeplens.common.resolve import Lazy
from deeplens.duplicates.model import Duplicates
from deeplens.errors import ApiError, QuotaExceeded
from deeplens.events.ids import with_follow_up_id
from deeplens.events.images import ImageUploaded
from deeplens.events.videos import VideoUploaded
from deeplens.formats.images import FileType
from deeplens.formats.videos import HEAD_BYTES, VideoType, sniff_video
from deeplens.images.keys import original_key
from deeplens.images.model import ImageRecord, MediaRecord, NewImage, NewMedia, Tombstone, is_video
from deeplens.images.ports import Admission, ImageRepository
from deeplens.images.requests import AdmitImages, image_uploaded, publishable
from deeplens.imaging.decoder import ImageDecoder
from deeplens.storage.ports import ObjectStore, StoreResolver
from deeplens.tenants.limits import Allowance, ResourceLimits, Storage
from deeplens.tenants.model import Tenant
from deeplens.uploads.quotas import check_ingestion, check_quota
from deeplens.videos.accept import AcceptVideo
from deeplens.videos.model import NewVideo, VideoRecord, VideoRepository

UNLIMITED_ALLOWANCE = Allowance(exceeded=(), images_left=None, bytes_left=None)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that was recognised as an image or as a video.

    Attributes
    ----------
    id : new, or derived from the client's idempotency key.
    keyed : whether it was derived, so that an earlier attempt may have left something.
    header : width, height and format of an image.
    """

    id: str
    keyed: bool
    body: bytes = field(repr=False)
    sha256: str
    file_name: str
    type: FileType | VideoType
    header: dict[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return original_key(self.id, self.type.extension)


def row_of[M: NewMedia](row_type: type[M], upload: Upload, store: ObjectStore, uploaded_at: datetime) -> M:
    return row_type(
        id=upload.id,
        file_name=upload.file_name,
        storage_path=store.uri(upload.key),
        mime_type=upload.type.mime_type,
        size_bytes=len(upload.body),
        sha256=upload.sha256,
        uploaded_at=uploaded_at,
        tags=upload.tags,
        metadata=upload.metadata,
    )


def checked_upload(
    media_id: str,
    body: bytes,
    file_name: str | None,
    decoder: Lazy[ImageDecoder],
    *,
    keyed: bool,
    tags: tuple[str, ...],
    metadata: dict[str, Any],
) -> Upload:
    """Check the header of an image, or the container of a video. Raises ``InvalidImage``, ``VideoFormatUnsupported``.

    ``media_id`` says which of the two the client calls it.
    """
    kind: FileType | VideoType
    if is_video(media_id):
        kind, name, known = sniff_video(body[:HEAD_BYTES]), "video", {}
    else:
        header = decoder().inspect(body)
        kind, name = header.type, "image"
        known = {"width": header.width, "height": header.height, "format": header.type.format}
    file_name, digest = file_name_of(file_name, kind.extension, name), hashlib.sha256(body).hexdigest()
    return Upload(media_id, keyed, body, digest, file_name, kind, known, tags, metadata)


@dataclass(frozen=True, slots=True)
class Accepted[R: MediaRecord]:
    """The upload is accepted once ``events`` are published.

    Attributes
    ----------
    replayed : whether an earlier request had made the row.
    left : what the tenant may still store; answers to uploads of videos do not say it.
    """

    media: R
    replayed: bool
    events: tuple[ImageUploaded | VideoUploaded, ...]
    left: Allowance = UNLIMITED_ALLOWANCE


@dataclass(frozen=True, slots=True)
class Rejected:
    """The upload was not accepted; publish ``events``, of other images that took its place, before the ``error``."""

    error: ApiError
    events: tuple[ImageUploaded, ...]


@dataclass(frozen=True, slots=True)
class AcceptUpload:
    """Record the image as pending, store the original, write the row, and return the event to publish.

    A step that cannot be done raises ``DependencyUnavailable``. A repeat with the same idempotency key does what is
    missing: the id, and with it every row, object and event, is the same.
    """

    stores: StoreResolver
    images: ImageRepository
    duplicates: Duplicates
    admit_images: AdmitImages
    clock: Clock

    def __call__(self, tenant: Tenant, upload: Upload, limits: ResourceLimits) -> Accepted[ImageRecord] | Rejected:
        """Accept an upload.

        Raises
        ------
        ApiError
            422 when the key came with other bytes before, 410 when its image was deleted, 413 beyond a quota, 429 while
            a budget is exhausted, 409 when the tenant rejects duplicate files and has this one.
        DependencyUnavailable
            Nothing is lost; the same key resumes.
        """
        known = self._find(tenant, upload)
        if known is not None:
            left = self._allowance(tenant, Storage(), limits)
            return Accepted(known, True, self.admit_images.again(tenant, known), left)
        check_ingestion(tenant, self.clock.now())
        # Quotas and duplicates are checked before anything is stored; the row's insertion decides.
        check_duplicates(self.duplicates, tenant, upload.sha256)
        left = self._allowance(tenant, Storage(1, len(upload.body)), limits)
        return self._accept_new(tenant, upload, limits, left)

    def resume(self, tenant: Tenant, image_id: str) -> tuple[ImageUploaded, ...]:
        """Return the event of an accepted image once more, unless the image was processed since or is deleted."""
        found = self.images.find(tenant, [image_id]).get(image_id)
        return self.admit_images.again(tenant, found) if isinstance(found, ImageRecord) else ()

    def _allowance(self, tenant: Tenant, requested: Storage, limits: ResourceLimits) -> Allowance:
        """What remains after ``requested``. Raises 413 where that does not fit."""
        limited = limits.max_images is not None or limits.max_bytes is not None
        return check_quota(limits, self.images.totals(tenant) if limited else Storage(), requested)

    def _find(self, tenant: Tenant, upload: Upload) -> ImageRecord | None:
        found = self.images.find(tenant, [upload.id]).get(upload.id) if upload.keyed else None
        return None if found is None else same_upload(found, upload)

    def _accept_new(
        self, tenant: Tenant, upload: Upload, limits: ResourceLimits, left: Allowance
    ) -> Accepted[ImageRecord] | Rejected:
        released: tuple[ImageUploaded, ...] = ()
        while True:
            try:
                inserted, admission = self._write(tenant, upload, limits)
                # Another request with this key may have been faster, with other bytes or not.
                image = same_upload(inserted, upload)
                break
            except ApiError as refusal:
                return Rejected(refusal, released)
            except QuotaExceeded as error:
                released += self._withdraw(tenant, upload)
                if (beyond := self._beyond_quota(tenant, upload, limits, error)) is not None:
                    return Rejected(beyond, released)
                # The key was sent twice at once, and the other request was faster: write again what was withdrawn.
        if tenant.duplicates.action == "reject" and (same := self.duplicates.reserve(tenant, image.id)):
            return Rejected(duplicate_image(same), released + self._withdraw(tenant, upload))
        return Accepted(image, False, released + publishable(admission), left)

    def _write(
        self, tenant: Tenant, upload: Upload, limits: ResourceLimits
    ) -> tuple[ImageRecord | Tombstone, Admission]:
        """Write the pending row, the object and the image's row, in this order. Raises ``QuotaExceeded``."""
        store = self.stores.for_tenant(tenant)
        image = row_of(NewImage, upload, store, self.clock.now())
        event = image_uploaded(tenant.id, image, upload.header | {"sha256": upload.sha256})
        admission = self.admit_images.admit(event)
        first = admission.event
        # Checked before the put: other bytes under this key must not replace an object that was accepted.
        if first.metadata.get("sha256") != upload.sha256:
            raise reused_key()
        store.put(upload.key, upload.body, upload.type.mime_type)
        row = replace(image, storage_path=first.storage_path, uploaded_at=first.uploaded_at)
        return self.images.insert(tenant, row, limits), admission

    def _beyond_quota(
        self, tenant: Tenant, upload: Upload, limits: ResourceLimits, error: QuotaExceeded
    ) -> ApiError | None:
        """The answer to an upload that does not fit; None where it may be written again."""
        try:
            if self._find(tenant, upload) is None:
                check_quota(limits, Storage(error.images, error.bytes), Storage(1, len(upload.body)))
        except ApiError as refusal:
            return refusal
        return None

    def _withdraw(self, tenant: Tenant, upload: Upload) -> tuple[ImageUploaded, ...]:
        """Remove what was written, and return the events of the images that take its place among the pending ones."""
        self.stores.for_tenant(tenant).delete([upload.key])
        return self.admit_images.withdraw(tenant, upload.id)


@dataclass(frozen=True, slots=True)
class AcceptVideoUpload:
    """Accept the upload of a video and return its event. A repeat does what is missing."""

    accept: AcceptVideo
    stores: StoreResolver
    videos: VideoRepository
    images: ImageRepository
    clock: Clock

    def __call__(self, tenant: Tenant, upload: Upload, limits: ResourceLimits) -> Accepted[VideoRecord]:
        """Accept an upload. Raises as ``AcceptUpload`` does; duplicates of videos are not looked for."""
        store = self.stores.for_tenant(tenant)
        known = self.videos.find(tenant, upload.id) if upload.keyed else None
        if known is None:
            check_ingestion(tenant, self.clock.now())
            self._check_quota(tenant, limits, upload)
        else:
            same_upload(known, upload)
        video = row_of(NewVideo, upload, store, self.clock.now())
        try:
            found, event = self.accept(
                tenant, video, limits, store=lambda: store.put(upload.key, upload.body, upload.type.mime_type)
            )
        except QuotaExceeded:
            store.delete([upload.key])
            self._check_quota(tenant, limits, upload)
            raise ApiError(413, "quota-exceeded", "Quota exceeded", "Another upload was faster.") from None
        events = (with_follow_up_id(event, "upload", video.id),) if event else ()
        return Accepted(same_upload(found, upload), known is not None, events)

    def _check_quota(self, tenant: Tenant, limits: ResourceLimits, upload: Upload) -> None:
        """Check the quota before anything is stored; the row's insertion decides."""
        if limits.max_bytes is not None:
            check_quota(limits, self.images.totals(tenant), Storage(0, len(upload.body)))


def same_upload[R: MediaRecord](found: R | Tombstone | None, upload: Upload) -> R:
    """The row of an idempotency key, if it has these bytes and was not deleted."""
    if isinstance(found, Tombstone):
        kind = "video" if is_video(upload.id) else "image"
        detail = f"The {kind} of this Idempotency-Key was deleted; upload it again under a new key."
        raise ApiError(410, f"{kind}-deleted", f"{kind.capitalize()} deleted", detail)
    if found is None or found.sha256 != upload.sha256:
        raise reused_key()
    return found


def check_duplicates(duplicates: Duplicates, tenant: Tenant, sha256: str | None) -> None:
    """Raise 409 where the tenant rejects duplicate files and has one of this digest."""
    if sha256 and tenant.duplicates.action == "reject":
        for same in duplicates.images_with_same_bytes(tenant, [sha256], 1).values():
            raise duplicate_image(same[0])


def reused_key() -> ApiError:
    detail = "This Idempotency-Key was used for another file; every upload needs its own key."
    return ApiError(422, "idempotency-key-reused", "Idempotency-Key reused", detail)


def duplicate_image(same: str) -> ApiError:
    detail = f"{same} has the same bytes, and this tenant rejects duplicate files."
    return ApiError(409, "duplicate-image", "Duplicate image", detail, {"Location": f"/v1/images/{same}"})
