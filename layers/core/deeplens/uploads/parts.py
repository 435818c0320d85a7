"""What happens to a direct upload after it was begun: parts, completion, abort."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from deeplens.common.ports import Clock
from deeplens.errors import ApiError, ObjectNotFound
from deeplens.http.problems import upload_not_found
from deeplens.storage.ports import ObjectStore, Part, PartUrl, StoreResolver, exists
from deeplens.tenants.model import Tenant
from deeplens.uploads.model import (
    CLAIM_RETRY_DELAY,
    CLAIMED_FOR,
    URLS_LAST,
    DirectUpload,
    DirectUploads,
    ObjectQueue,
    location_of,
    part_sizes,
    wrong_parts,
)

MAX_NAMED_PARTS = 20


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
        part_bytes, multipart_id = _in_parts(upload)
        try:
            sent = self._stores.for_tenant(tenant).uploads().parts(upload.key, multipart_id)
        except ObjectNotFound:
            sent = []
        return sent, wrong_parts(upload.size_bytes, part_bytes, sent)

    def addresses(self, tenant: Tenant, upload: DirectUpload, numbers: Sequence[int]) -> list[PartUrl]:
        part_bytes, multipart_id = _in_parts(upload)
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
            raise _ended(upload)
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
            raise _incomplete("The file has not arrived yet.")
        sent, missing = self.upload_parts.sent(tenant, upload)
        if missing and not self._ended_meanwhile(upload):
            named = ", ".join(map(str, missing[:MAX_NAMED_PARTS]))
            raise _incomplete(f"These parts are missing or have another size than declared: {named}.")
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
            raise _ended(upload)
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


def _in_parts(upload: DirectUpload) -> tuple[int, str]:
    """The size of the parts, and the store's id of them."""
    if upload.status != "open":
        raise _ended(upload)
    if upload.part_bytes is None or upload.multipart_id is None:
        detail = "This file is sent as one; begin the upload again with its Idempotency-Key for a fresh form."
        raise ApiError(409, "upload-not-multipart", "Upload not in parts", detail)
    return upload.part_bytes, upload.multipart_id


def _incomplete(detail: str) -> ApiError:
    return ApiError(409, "upload-incomplete", "Upload incomplete", detail)


def _ended(upload: DirectUpload) -> ApiError:
    return ApiError(409, "upload-ended", "Upload ended", f"This upload is {upload.status}.")
