"""/v1/uploads: files that clients write to the store directly. /v1/images/check: which files exist already."""

from typing import Any

from fastapi import APIRouter, Response

from deeplens.access.caller import Reader, Writer
from deeplens.common.file_names import file_name_of
from deeplens.common.ids import keyed_upload_id, new_id
from deeplens.common.ports import Clock
from deeplens.http.dependencies import Injected
from deeplens.http.fields import IdempotencyKey, UploadIdInPath, idempotency_key
from deeplens.http.problems import responses
from deeplens.http.schemas import view
from deeplens.images import views
from deeplens.images.fields import unique
from deeplens.images.ports import ImageRepository
from deeplens.uploads.direct import AbortUpload, BeginUpload, CompleteUpload, DeclaredFile, UploadParts, find_upload
from deeplens.uploads.model import DirectUploads
from deeplens.uploads.quotas import QUOTA_HEADERS, documented_headers, upload_headers
from deeplens.uploads.schemas import (
    CheckedDigests,
    Digests,
    KnownFile,
    NewUpload,
    PartAddress,
    PartAddresses,
    SentPart,
    SentParts,
    UploadDetail,
    WantedParts,
)
from deeplens.uploads.views import UploadViews, path_of

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])
checks = APIRouter(prefix="/v1/images", tags=["images"])
CREATED: dict[int | str, dict[str, Any]] = {201: documented_headers("the upload", QUOTA_HEADERS)}


@router.post("", status_code=201, summary="Begin an upload", responses={**CREATED, **responses(400, 409, 413)})
def begin_upload(
    caller: Writer,
    begin: Injected[BeginUpload],
    show: Injected[UploadViews],
    clock: Injected[Clock],
    response: Response,
    body: NewUpload,
    key: IdempotencyKey = None,
) -> UploadDetail:
    """Returns where to send the file. Processing starts once the file has arrived; follow ``Location``."""
    key = idempotency_key(key)
    upload_id = keyed_upload_id(caller.tenant.id, key) if key else new_id("upl", clock.now())
    name, tags = file_name_of(body.file_name, ""), unique(body.tags)
    file = DeclaredFile(name, body.size_bytes, body.sha256, tags, body.metadata)
    begun = begin(caller.tenant, file, upload_id, caller.limits)
    response.headers.update(upload_headers(path_of(upload_id), begun.replayed, begun.left))
    return show(caller.tenant, begun.upload, begun.form)


@router.get("/{upload_id}", summary="Get the status of an upload", responses=responses(404))
def get_upload(
    caller: Reader, uploads: Injected[DirectUploads], show: Injected[UploadViews], upload_id: UploadIdInPath
) -> UploadDetail:
    """``ingested`` once it is an image or a video; ``failed``, with the reason, also if that image or video failed."""
    return show(caller.tenant, find_upload(uploads, caller.tenant, upload_id))


@router.get("/{upload_id}/parts", summary="List the parts that have arrived", responses=responses(404, 409))
def list_parts(
    caller: Reader, uploads: Injected[DirectUploads], parts: Injected[UploadParts], upload_id: UploadIdInPath
) -> SentParts:
    upload = find_upload(uploads, caller.tenant, upload_id)
    sent, missing = parts.sent(caller.tenant, upload)
    return SentParts(parts=[view(SentPart, part, part_number=part.number) for part in sent], missing=missing)


@router.post("/{upload_id}/parts", summary="Get URLs for parts", responses=responses(404, 409))
def address_parts(
    caller: Writer,
    uploads: Injected[DirectUploads],
    parts: Injected[UploadParts],
    upload_id: UploadIdInPath,
    body: WantedParts,
) -> PartAddresses:
    """Request only the parts that you are about to send: URLs expire, at the latest after an hour."""
    upload = find_upload(uploads, caller.tenant, upload_id)
    addresses = parts.addresses(caller.tenant, upload, body.part_numbers)
    return PartAddresses(parts=[view(PartAddress, part, part_number=part.number) for part in addresses])


@router.post("/{upload_id}/complete", status_code=202, summary="Complete an upload", responses=responses(404, 409))
def complete_upload(
    caller: Writer,
    uploads: Injected[DirectUploads],
    complete: Injected[CompleteUpload],
    show: Injected[UploadViews],
    upload_id: UploadIdInPath,
) -> UploadDetail:
    """Joins the parts. A file sent in one request is also processed without this call. Safe to repeat."""
    upload = find_upload(uploads, caller.tenant, upload_id)
    complete(caller.tenant, upload)
    return show(caller.tenant, upload)


@router.delete("/{upload_id}", status_code=202, summary="Abort an upload", responses=responses(404, 409))
def abort_upload(
    caller: Writer,
    uploads: Injected[DirectUploads],
    abort: Injected[AbortUpload],
    show: Injected[UploadViews],
    upload_id: UploadIdInPath,
) -> UploadDetail:
    """Removes what has arrived. 409 once it is an image or a video; delete that instead. Safe to repeat."""
    upload = find_upload(uploads, caller.tenant, upload_id)
    return show(caller.tenant, abort(caller.tenant, upload))


@checks.post("/check", summary="Check which files exist", responses=responses())
def check_images(caller: Reader, images: Injected[ImageRepository], body: Digests) -> CheckedDigests:
    """Lets importers send only new files. Deleted images do not count as known."""
    digests = unique(body.sha256)
    found = images.with_digests(caller.tenant, digests)
    known = [
        KnownFile(sha256=digest, image_id=image.id, status=views.STATUS[image.step], uploaded_at=image.uploaded_at)
        for digest in digests
        if (image := found.get(digest))
    ]
    return CheckedDigests(known=known, new=[digest for digest in digests if digest not in found])
