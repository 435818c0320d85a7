"""Direct uploads: begin, send in parts, complete, abort. The same key gives the same upload, with fresh URLs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from deeplens.common.ports import Clock
from deeplens.duplicates.model import Duplicates
from deeplens.errors import ApiError, FileTooLarge, ObjectNotFound
from deeplens.formats.videos import type_by_name
from deeplens.http.problems import upload_not_found
from deeplens.images.fields import unique
from deeplens.images.ports import ImageRepository
from deeplens.imaging.limits import Limits
from deeplens.storage.ports import FormPost, ObjectStore, Part, PartUrl, StoreResolver, exists
from deeplens.tenants.limits import Allowance, ResourceLimits, Storage, largest_file
from deeplens.tenants.model import Tenant
from deeplens.uploads.accept_form import check_duplicates, reused_key
from deeplens.uploads.model import (
    CLAIM_RETRY_DELAY,
    CLAIMED_FOR,
    OPEN_FOR,
    URLS_LAST,
    DirectUpload,
    DirectUploads,
    ObjectQueue,
    location_of,
    part_bytes_of,
    part_sizes,
    wrong_parts,
)
from deeplens.uploads.quotas import check_ingestion, check_quota
from deeplens.uploads.schemas import NewUpload
from deeplens.videos.decoding.limits import VideoLimits

MAX_NAMED_PARTS = 20


@dataclass(frozen=True, slots=True)
class Begun:
    """``form`` is where a single file goes; ``replayed`` when the upload was there before; ``left`` what still fits."""

    upload: DirectUpload
    form: FormPost | None
    replayed: bool
    left: Allowance


@dataclass(frozen=True, slots=True)
class BeginUpload:
    """Begin or resume an upload. Every step may be repeated."""

    stores: StoreResolver
    images: ImageRepository
    duplicates: Duplicates
    uploads: DirectUploads
    limits: Limits
    video_limits: VideoLimits
    clock: Clock

    def __call__(self, tenant: Tenant, file: NewUpload, upload_id: str, limits: ResourceLimits) -> Begun:
        """Begin or resume an upload.

        Raises
        ------
        FileTooLarge
        ApiError
            422 when the key came with another file before, 413 beyond a quota: uploads under way count, 429 while a
            budget is exhausted, 409 when the tenant rejects duplicate files and has one of the declared digest.
        """
        found = self.uploads.find(tenant.id, upload_id)
        if found is None:
            self._check_new(tenant, file, limits)
        left = self._allowance(tenant, Storage() if found else Storage(1, file.size_bytes), limits)
        upload = found or self._add(tenant, file, upload_id)
        if (upload.file_name, upload.size_bytes, upload.sha256) != (file.file_name, file.size_bytes, file.sha256):
            raise reused_key()
        if upload.status != "open":
            return Begun(upload, None, True, left)
        upload, form = self._prepare(tenant, upload)
        return Begun(upload, form, found is not None, left)

    def _check_new(self, tenant: Tenant, file: NewUpload, limits: ResourceLimits) -> None:
        """Refuse a file before anything of it is sent; its bytes are checked again when they have arrived."""
        accepted = self.video_limits.max_bytes if type_by_name(file.file_name) else self.limits.max_bytes
        if file.size_bytes > (largest := largest_file(limits, accepted)):
            raise FileTooLarge(f"the file has {file.size_bytes} bytes, which exceeds your limit of {largest} bytes")
        check_ingestion(tenant, self.clock.now())
        check_duplicates(self.duplicates, tenant, file.sha256)

    def _add(self, tenant: Tenant, file: NewUpload, upload_id: str) -> DirectUpload:
        now = self.clock.now()
        return self.uploads.add(
            DirectUpload(
                tenant_id=tenant.id,
                id=upload_id,
                file_name=file.file_name,
                size_bytes=file.size_bytes,
                created_at=now,
                expires_at=now + OPEN_FOR,
                due=now + OPEN_FOR,
                sha256=file.sha256,
                tags=unique(file.tags),
                metadata=file.metadata,
                part_bytes=part_bytes_of(file.size_bytes),
            )
        )

    def _prepare(self, tenant: Tenant, upload: DirectUpload) -> tuple[DirectUpload, FormPost | None]:
        uploads = self.stores.for_tenant(tenant).uploads()
        if upload.part_bytes is None:
            return upload, uploads.form(upload.key, upload.size_bytes, URLS_LAST)
        if upload.multipart_id is None:
            begun = uploads.begin(upload.key)
            kept = self.uploads.keep_multipart(tenant.id, upload.id, begun)
            if kept != begun:
                # The key was sent twice at once, and the other request was faster.
                uploads.abort(upload.key, begun)
            upload = replace(upload, multipart_id=kept)
        return upload, None

    def _allowance(self, tenant: Tenant, requested: Storage, limits: ResourceLimits) -> Allowance:
        if limits.max_images is None and limits.max_bytes is None:
            return check_quota(limits, Storage(), requested)
        used, coming = self.images.totals(tenant), self.uploads.reserved(tenant.id)
        return check_quota(limits, Storage(used.images + coming.images, used.bytes + coming.bytes), requested)


def find_upload(uploads: DirectUploads, tenant: Tenant, upload_id: str) -> DirectUpload:
    """A tenant's own upload. Raises 404 for unknown ones and for those of other tenants."""
    found = uploads.find(tenant.id, upload_id)
    if found is None:
        raise upload_not_found(upload_id)
    return found


class UploadParts:
    """Parts of an open upload that is sent in parts. Raises 409 for any other upload."""

    def __init__(self, stores: StoreResolver) -> None:
        self._stores = stores

    def sent(self, tenant: Tenant, upload: DirectUpload) -> tuple[list[Part], list[int]]:
        """Parts that have arrived, and numbers of those that are missing or have another size."""
        part_bytes, multipart_id = _multipart_of(upload)
        try:
            sent = self._stores.for_tenant(tenant).uploads().parts(upload.key, multipart_id)
        except ObjectNotFound:
            sent = []
        return sent, wrong_parts(upload.size_bytes, part_bytes, sent)

    def addresses(self, tenant: Tenant, upload: DirectUpload, numbers: Sequence[int]) -> list[PartUrl]:
        part_bytes, multipart_id = _multipart_of(upload)
        sizes = part_sizes(upload.size_bytes, part_bytes)
        if beyond := [number for number in numbers if number > len(sizes)]:
            detail = f"There is no part {beyond[0]} of {len(sizes)}."
            raise ApiError(409, "part-not-expected", "Part not expected", detail)
        uploads = self._stores.for_tenant(tenant).uploads()
        return [
            uploads.part_url(upload.key, multipart_id, number, sizes[number - 1], URLS_LAST)
            for number in dict.fromkeys(numbers)
        ]


@dataclass(frozen=True, slots=True)
class CompleteUpload:
    """Join the parts and notify, as the bucket may not, or its notification may be lost. Safe to repeat."""

    stores: StoreResolver
    uploads: DirectUploads
    object_queue: ObjectQueue
    upload_parts: UploadParts
    clock: Clock

    def __call__(self, tenant: Tenant, upload: DirectUpload) -> None:
        """Raises 409 while parts are missing, and when the upload was aborted or has expired."""
        if upload.status in ("aborted", "expired"):
            raise _ended_error(upload)
        if upload.status != "open":
            return
        store = self.stores.for_tenant(tenant)
        if not exists(store, upload.key):
            self._join(tenant, store, upload)
        # First: if the message cannot be sent, the schedule sends it.
        self.uploads.expect(tenant.id, upload.id, self.clock.now() + CLAIM_RETRY_DELAY)
        self.object_queue.send([location_of(tenant, upload)])

    def _join(self, tenant: Tenant, store: ObjectStore, upload: DirectUpload) -> None:
        if upload.part_bytes is None:
            if self._ended_meanwhile(upload):
                return
            raise _incomplete_error("The file has not arrived yet.")
        sent, missing = self.upload_parts.sent(tenant, upload)
        if missing and not self._ended_meanwhile(upload):
            named = ", ".join(map(str, missing[:MAX_NAMED_PARTS]))
            raise _incomplete_error(f"These parts are missing or have another size than declared: {named}.")
        if not missing:
            store.uploads().join(upload.key, upload.multipart_id or "", sent)

    def _ended_meanwhile(self, upload: DirectUpload) -> bool:
        """Whether the file is gone because it was ingested since."""
        now = self.uploads.find(upload.tenant_id, upload.id)
        return now is not None and now.status != "open"


@dataclass(frozen=True, slots=True)
class AbortUpload:
    """Remove what has arrived, and end the upload."""

    stores: StoreResolver
    uploads: DirectUploads
    clock: Clock

    def __call__(self, tenant: Tenant, upload: DirectUpload) -> DirectUpload:
        """The aborted upload. Raises 409 while it is being ingested, and once it is an image."""
        if upload.status == "ingested":
            raise _ended_error(upload)
        if upload.status != "open":
            return upload
        now = self.clock.now()
        if not self.uploads.claim(tenant.id, upload.id, now, now + CLAIMED_FOR):
            detail = "The file has arrived and is being processed; ask again in a moment."
            raise ApiError(409, "upload-in-work", "Upload in work", detail)
        store = self.stores.for_tenant(tenant)
        if upload.multipart_id:
            store.uploads().abort(upload.key, upload.multipart_id)
        store.delete([upload.key])
        self.uploads.end(tenant.id, upload.id, "aborted", now)
        return replace(upload, status="aborted")


def _multipart_of(upload: DirectUpload) -> tuple[int, str]:
    """The size of the parts, and the store's id of them."""
    if upload.status != "open":
        raise _ended_error(upload)
    if upload.part_bytes is None or upload.multipart_id is None:
        detail = "This file is sent as one; begin the upload again with its Idempotency-Key for a fresh form."
        raise ApiError(409, "upload-not-multipart", "Upload not in parts", detail)
    return upload.part_bytes, upload.multipart_id


def _incomplete_error(detail: str) -> ApiError:
    return ApiError(409, "upload-incomplete", "Upload incomplete", detail)


def _ended_error(upload: DirectUpload) -> ApiError:
    return ApiError(409, "upload-ended", "Upload ended", f"This upload is {upload.status}.")
