"""What happens to an upload after it was begun: parts, completion, the end."""

from collections.abc import Sequence
from dataclasses import replace

from deeplens.common.ports import Clock
from deeplens.errors import ApiError, ObjectNotFound
from deeplens.events.bucket import Place
from deeplens.http.problems import upload_not_found
from deeplens.storage.ports import ObjectStore, Part, PartUrl, StoreResolver
from deeplens.tenants.model import Tenant
from deeplens.uploads.model import (
    CLAIMED_FOR,
    SOON,
    URLS_LAST,
    DirectUpload,
    DirectUploads,
    ObjectQueue,
    part_sizes,
    source_of,
    wrong_parts,
)

NAMED_PARTS = 20


def upload_of_tenant(uploads: DirectUploads, tenant: Tenant, upload_id: str) -> DirectUpload:
    """A tenant's own upload; unknown ones and those of others answer the same."""
    found = uploads.find(tenant.id, upload_id)
    if found is None:
        raise upload_not_found(upload_id)
    return found


class UploadParts:
    """Parts of an open upload that is sent in parts. Anything else is 409."""

    def __init__(self, stores: StoreResolver) -> None:
        self._stores = stores

    def sent(self, tenant: Tenant, upload: DirectUpload) -> tuple[list[Part], list[int]]:
        """Parts that are there, and numbers of those that are missing or have another size."""
        part_bytes, multipart_id = _in_parts(upload)
        try:
            found = self._stores.for_tenant(tenant).uploads().parts(upload.key, multipart_id)
        except ObjectNotFound:
            found = []
        return found, wrong_parts(upload.size_bytes, part_bytes, found)

    def addresses(self, tenant: Tenant, upload: DirectUpload, numbers: Sequence[int]) -> list[PartUrl]:
        part_bytes, multipart_id = _in_parts(upload)
        sizes = part_sizes(upload.size_bytes, part_bytes)
        if beyond := [number for number in numbers if number > len(sizes)]:
            raise ApiError(
                409, "part-not-expected", "Part not expected", f"There is no part {beyond[0]} of {len(sizes)}."
            )
        uploads = self._stores.for_tenant(tenant).uploads()
        return [
            uploads.part_url(upload.key, multipart_id, number, sizes[number - 1], URLS_LAST)
            for number in dict.fromkeys(numbers)
        ]


class CompleteUpload:
    """Join the parts, and notify: the bucket may not, or its word may be lost. Twice is harmless."""

    def __init__(self, stores: StoreResolver, uploads: DirectUploads, object_queue: ObjectQueue, clock: Clock) -> None:
        self._stores, self._uploads, self._queue, self._clock = stores, uploads, object_queue, clock

    def __call__(self, tenant: Tenant, upload: DirectUpload) -> None:
        """Raises 409 when not all of it has arrived, or when it was aborted or has expired."""
        if upload.status in ("aborted", "expired"):
            raise _ended(upload)
        if upload.status != "open":
            return
        store = self._stores.for_tenant(tenant)
        if not _has(store, upload.key):
            self._join(tenant, store, upload)
        # First: if the message cannot be sent, the schedule sends it.
        self._uploads.expect(tenant.id, upload.id, self._clock.now() + SOON)
        self._queue.send([_place(tenant, upload)])

    def _join(self, tenant: Tenant, store: ObjectStore, upload: DirectUpload) -> None:
        if upload.part_bytes is None:
            if self._ended_meanwhile(upload):
                return
            raise _incomplete("The file has not arrived yet.")
        sent, missing = UploadParts(self._stores).sent(tenant, upload)
        if missing and not self._ended_meanwhile(upload):
            named = ", ".join(map(str, missing[:NAMED_PARTS]))
            raise _incomplete(f"These parts are missing or have another size than declared: {named}.")
        if not missing:
            store.uploads().join(upload.key, upload.multipart_id or "", sent)

    def _ended_meanwhile(self, upload: DirectUpload) -> bool:
        """Whether the file is gone because it was taken in since."""
        now = self._uploads.find(upload.tenant_id, upload.id)
        return now is not None and now.status != "open"


class AbortUpload:
    """Remove what has arrived, and have nothing more be looked at."""

    def __init__(self, stores: StoreResolver, uploads: DirectUploads, clock: Clock) -> None:
        self._stores, self._uploads, self._clock = stores, uploads, clock

    def __call__(self, tenant: Tenant, upload: DirectUpload) -> DirectUpload:
        """The aborted upload. Raises 409 while it is being taken in, and once it is an image."""
        if upload.status == "ingested":
            raise _ended(upload)
        if upload.status != "open":
            return upload
        now = self._clock.now()
        if not self._uploads.claim(tenant.id, upload.id, now, now + CLAIMED_FOR):
            detail = "The file has arrived and is being taken in; look again in a moment."
            raise ApiError(409, "upload-in-work", "Upload in work", detail)
        store = self._stores.for_tenant(tenant)
        if upload.multipart_id:
            store.uploads().abort(upload.key, upload.multipart_id)
        store.delete([upload.key])
        self._uploads.end(tenant.id, upload.id, "aborted", now)
        return replace(upload, status="aborted")


def _in_parts(upload: DirectUpload) -> tuple[int, str]:
    if upload.status != "open":
        raise _ended(upload)
    if upload.part_bytes is None or upload.multipart_id is None:
        detail = "This file is sent as one; begin the upload again with its Idempotency-Key for a fresh form."
        raise ApiError(409, "upload-not-multipart", "Upload not in parts", detail)
    return upload.part_bytes, upload.multipart_id


def _has(store: ObjectStore, key: str) -> bool:
    try:
        store.head(key)
    except ObjectNotFound:
        return False
    return True


def _place(tenant: Tenant, upload: DirectUpload) -> Place:
    return Place(source_of(tenant.storage_uri), tenant.storage_uri.partition("://")[2], upload.key)


def _incomplete(detail: str) -> ApiError:
    return ApiError(409, "upload-incomplete", "Upload incomplete", detail)


def _ended(upload: DirectUpload) -> ApiError:
    return ApiError(409, "upload-ended", "Upload ended", f"This upload is {upload.status}.")
