"""Beginning a direct upload: a row, then where the file goes. The same key gives the same upload, with fresh URLs."""

from dataclasses import dataclass, replace
from typing import Any

from deeplens.common.ports import Clock
from deeplens.duplicates.model import Duplicates
from deeplens.errors import ApiError, FileTooLarge
from deeplens.images.ports import ImageRepository
from deeplens.storage.ports import FormPost, StoreResolver
from deeplens.tenants.limits import Allowance, ResourceLimits, Storage
from deeplens.tenants.model import Tenant
from deeplens.uploads.accept_form import duplicate_image
from deeplens.uploads.model import OPEN_FOR, URLS_LAST, DirectUpload, DirectUploads, part_bytes_of
from deeplens.uploads.quotas import check_ingestion, granted


@dataclass(frozen=True, slots=True)
class Begun:
    """``form`` is where a single file goes; ``replayed`` when the upload was there before; ``left`` what still fits."""

    upload: DirectUpload
    form: FormPost | None
    replayed: bool
    left: Allowance


class BeginUpload:
    """Every step may be repeated."""

    def __init__(
        self,
        stores: StoreResolver,
        images: ImageRepository,
        duplicates: Duplicates,
        uploads: DirectUploads,
        clock: Clock,
    ) -> None:
        self._stores, self._images, self._duplicates = stores, images, duplicates
        self._uploads, self._clock = uploads, clock

    def __call__(
        self, tenant: Tenant, declared: dict[str, Any], upload_id: str, limits: ResourceLimits, largest: int
    ) -> Begun:
        """Begin or resume an upload.

        Parameters
        ----------
        declared : name, size, digest, tags and metadata.
        largest : bytes of a file that the tenant may send.

        Raises
        ------
        FileTooLarge
        ApiError
            422 when the key came with another file before, 413 beyond a quota: uploads under way count, 429 while a
            budget is exhausted, 409 when the tenant takes no file twice and has one of the declared digest.
        """
        found = self._uploads.find(tenant.id, upload_id)
        if found is None and declared["size_bytes"] > largest:
            raise FileTooLarge(f"{declared['size_bytes']} bytes are declared, {largest} are the most that you may send")
        if found is None:
            check_ingestion(tenant, self._clock.now())
            self._refuse_twin(tenant, declared["sha256"])
        wanted = Storage() if found else Storage(1, declared["size_bytes"])
        left = self._allowance(tenant, wanted, limits)
        upload = found or self._added(tenant, declared, upload_id)
        _same_file(upload, declared)
        if upload.status != "open":
            return Begun(upload, None, True, left)
        upload, form = self._addressed(tenant, upload)
        return Begun(upload, form, found is not None, left)

    def _refuse_twin(self, tenant: Tenant, sha256: str | None) -> None:
        """Before anything is sent; the bytes themselves are asked again when they are there."""
        if sha256 and tenant.duplicates.action == "reject":
            for twins in self._duplicates.twins(tenant, [sha256], 1).values():
                raise duplicate_image(twins[0])

    def _added(self, tenant: Tenant, declared: dict[str, Any], upload_id: str) -> DirectUpload:
        now = self._clock.now()
        until = now + OPEN_FOR
        part_bytes = part_bytes_of(declared["size_bytes"])
        return self._uploads.add(
            DirectUpload(
                tenant.id, upload_id, **declared, created_at=now, expires_at=until, due=until, part_bytes=part_bytes
            )
        )

    def _addressed(self, tenant: Tenant, upload: DirectUpload) -> tuple[DirectUpload, FormPost | None]:
        uploads = self._stores.for_tenant(tenant).uploads()
        if upload.part_bytes is None:
            return upload, uploads.form(upload.key, upload.size_bytes, URLS_LAST)
        if upload.multipart_id is None:
            begun = uploads.begin(upload.key)
            kept = self._uploads.keep_multipart(tenant.id, upload.id, begun)
            if kept != begun:
                # The same key twice at once: the other request was faster.
                uploads.abort(upload.key, begun)
            upload = replace(upload, multipart_id=kept)
        return upload, None

    def _allowance(self, tenant: Tenant, wanted: Storage, limits: ResourceLimits) -> Allowance:
        if limits.max_images is None and limits.max_bytes is None:
            return granted(limits, Storage(), wanted)
        used, coming = self._images.totals(tenant), self._uploads.reserved(tenant.id)
        return granted(limits, Storage(used.images + coming.images, used.bytes + coming.bytes), wanted)


def _same_file(upload: DirectUpload, declared: dict[str, Any]) -> None:
    if any(getattr(upload, name) != declared[name] for name in ("file_name", "size_bytes", "sha256")):
        detail = "This Idempotency-Key was used for another file; every upload needs its own key."
        raise ApiError(422, "idempotency-key-reused", "Idempotency-Key reused", detail)
