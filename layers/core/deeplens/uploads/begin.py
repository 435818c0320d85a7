"""Beginning a direct upload: a row, then where the file goes. The same key gives the same upload, with fresh URLs."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from deeplens.common.ports import Clock
from deeplens.duplicates.model import Duplicates
from deeplens.errors import FileTooLarge
from deeplens.formats.videos import type_by_name
from deeplens.images.ports import ImageRepository
from deeplens.storage.ports import FormPost, StoreResolver
from deeplens.tenants.limits import Allowance, ResourceLimits, Storage, largest_file
from deeplens.tenants.model import Tenant
from deeplens.uploads.accept_form import duplicate_image, reused_key
from deeplens.uploads.model import OPEN_FOR, URLS_LAST, DirectUpload, DirectUploads, part_bytes_of
from deeplens.uploads.quotas import check_ingestion, granted
from deeplens.videos.decoding.limits import VideoLimits

if TYPE_CHECKING:
    from deeplens.imaging import Limits


@dataclass(frozen=True, slots=True)
class DeclaredFile:
    """What a client says of a file before it sends it."""

    file_name: str
    size_bytes: int
    sha256: str | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)


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
    limits: "Limits"
    video_limits: VideoLimits
    clock: Clock

    def __call__(self, tenant: Tenant, file: DeclaredFile, upload_id: str, limits: ResourceLimits) -> Begun:
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
        upload = found or self._added(tenant, file, upload_id)
        if (upload.file_name, upload.size_bytes, upload.sha256) != (file.file_name, file.size_bytes, file.sha256):
            raise reused_key()
        if upload.status != "open":
            return Begun(upload, None, True, left)
        upload, form = self._addressed(tenant, upload)
        return Begun(upload, form, found is not None, left)

    def _check_new(self, tenant: Tenant, file: DeclaredFile, limits: ResourceLimits) -> None:
        """Refuse a file before anything of it is sent; its bytes are checked again when they have arrived."""
        accepted = self.video_limits.max_bytes if type_by_name(file.file_name) else self.limits.max_bytes
        if file.size_bytes > (largest := largest_file(limits, accepted)):
            raise FileTooLarge(f"the file has {file.size_bytes} bytes, which exceeds your limit of {largest} bytes")
        check_ingestion(tenant, self.clock.now())
        if file.sha256 and tenant.duplicates.action == "reject":
            for same in self.duplicates.images_with_same_bytes(tenant, [file.sha256], 1).values():
                raise duplicate_image(same[0])

    def _added(self, tenant: Tenant, file: DeclaredFile, upload_id: str) -> DirectUpload:
        now = self.clock.now()
        return self.uploads.add(
            DirectUpload(
                tenant.id,
                upload_id,
                file.file_name,
                file.size_bytes,
                created_at=now,
                expires_at=now + OPEN_FOR,
                due=now + OPEN_FOR,
                sha256=file.sha256,
                tags=file.tags,
                metadata=file.metadata,
                part_bytes=part_bytes_of(file.size_bytes),
            )
        )

    def _addressed(self, tenant: Tenant, upload: DirectUpload) -> tuple[DirectUpload, FormPost | None]:
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

    def _allowance(self, tenant: Tenant, wanted: Storage, limits: ResourceLimits) -> Allowance:
        if limits.max_images is None and limits.max_bytes is None:
            return granted(limits, Storage(), wanted)
        used, coming = self.images.totals(tenant), self.uploads.reserved(tenant.id)
        return granted(limits, Storage(used.images + coming.images, used.bytes + coming.bytes), wanted)
