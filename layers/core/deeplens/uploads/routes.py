"""/v1/uploads: files that clients write to the store directly. /v1/images/check: which files are known already."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Response

from deeplens.access.caller import Caller, Reader, Writer
from deeplens.common.file_names import file_name_of
from deeplens.common.ids import keyed_upload_id, new_id
from deeplens.http.dependencies import ApiParts, Parts
from deeplens.http.fields import UploadIdInPath, idempotency_key
from deeplens.http.problems import responses
from deeplens.images import views
from deeplens.images.fields import unique
from deeplens.uploads.begin import BeginUpload
from deeplens.uploads.model import DirectUpload
from deeplens.uploads.parts import AbortUpload, CompleteUpload, UploadParts, upload_of_tenant
from deeplens.uploads.quotas import QUOTA_HEADERS, largest_upload, quota_headers
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
from deeplens.uploads.views import detail, path_of

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])
checks = APIRouter(prefix="/v1/images", tags=["images"])
CREATED: dict[int | str, dict[str, Any]] = {
    201: {
        "headers": {
            "Location": {"schema": {"type": "string"}, "description": "the upload"},
            "Idempotency-Replayed": {"schema": {"type": "string"}, "description": "true for a repeat"},
            **QUOTA_HEADERS,
        }
    }
}


@router.post("", status_code=201, summary="Begin an upload", responses={**CREATED, **responses(400, 409, 413)})
def begin_upload(
    caller: Writer,
    parts: Parts,
    response: Response,
    wanted: NewUpload,
    key: Annotated[
        str | None,
        Header(alias="Idempotency-Key", description="a repeat with the same key and file resumes the same upload"),
    ] = None,
) -> UploadDetail:
    """Where the file is to be sent. Its processing starts when it is there; follow ``Location``."""
    named = idempotency_key(key)
    upload_id = keyed_upload_id(caller.tenant.id, named) if named else new_id("upl", parts.clock.now())
    declared = _declared(wanted)
    largest = largest_upload(caller.limits, parts.settings, declared["file_name"])
    begun = BeginUpload(parts.stores, parts.images, parts.duplicates, parts.uploads, parts.clock)(
        caller.tenant, declared, upload_id, caller.limits, largest
    )
    response.headers.update(quota_headers(begun.left))
    response.headers["Location"] = path_of(upload_id)
    if begun.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return detail(begun.upload, _become(parts, caller, begun.upload), begun.form)


@router.get("/{upload_id}", summary="Status of an upload", responses=responses(404))
def get_upload(caller: Reader, parts: Parts, upload_id: UploadIdInPath) -> UploadDetail:
    """``ingested`` once it is an image or video; ``failed``, with the reason, also where that failed."""
    upload = upload_of_tenant(parts.uploads, caller.tenant, upload_id)
    return detail(upload, _become(parts, caller, upload))


@router.get("/{upload_id}/parts", summary="Parts that have arrived", responses=responses(404, 409))
def list_parts(caller: Reader, parts: Parts, upload_id: UploadIdInPath) -> SentParts:
    upload = upload_of_tenant(parts.uploads, caller.tenant, upload_id)
    sent, missing = UploadParts(parts.stores).sent(caller.tenant, upload)
    return SentParts(
        parts=[SentPart(part_number=part.number, size_bytes=part.size_bytes) for part in sent], missing=missing
    )


@router.post("/{upload_id}/parts", summary="Where parts are sent", responses=responses(404, 409))
def address_parts(caller: Writer, parts: Parts, upload_id: UploadIdInPath, wanted: WantedParts) -> PartAddresses:
    """As many at a time as you are about to send: URLs end with the credentials that sign them."""
    upload = upload_of_tenant(parts.uploads, caller.tenant, upload_id)
    found = UploadParts(parts.stores).addresses(caller.tenant, upload, wanted.part_numbers)
    return PartAddresses(
        parts=[
            PartAddress(part_number=one.number, url=one.url, size_bytes=one.size_bytes, expires_at=one.expires_at)
            for one in found
        ]
    )


@router.post("/{upload_id}/complete", status_code=202, summary="Complete an upload", responses=responses(404, 409))
def complete_upload(caller: Writer, parts: Parts, upload_id: UploadIdInPath) -> UploadDetail:
    """Joins the parts. A file that was sent as one is processed without it, too. Safe to repeat."""
    upload = upload_of_tenant(parts.uploads, caller.tenant, upload_id)
    CompleteUpload(parts.stores, parts.uploads, parts.object_queue, parts.clock)(caller.tenant, upload)
    return detail(upload, _become(parts, caller, upload))


@router.delete("/{upload_id}", status_code=202, summary="Abort an upload", responses=responses(404, 409))
def abort_upload(caller: Writer, parts: Parts, upload_id: UploadIdInPath) -> UploadDetail:
    """What has arrived is removed. 409 once it is an image or video, which is deleted as one. Safe to repeat."""
    upload = upload_of_tenant(parts.uploads, caller.tenant, upload_id)
    return detail(AbortUpload(parts.stores, parts.uploads, parts.clock)(caller.tenant, upload), None)


@checks.post("/check", summary="Which files are known", responses=responses())
def check_images(caller: Reader, parts: Parts, wanted: Digests) -> CheckedDigests:
    """For importers: send only what is new. Deleted images are not known."""
    asked = unique(wanted.sha256)
    found = parts.images.with_digests(caller.tenant, asked)
    known = [
        KnownFile(sha256=digest, image_id=image.id, status=views.STATUS[image.step], uploaded_at=image.uploaded_at)
        for digest in asked
        if (image := found.get(digest))
    ]
    return CheckedDigests(known=known, new=[digest for digest in asked if digest not in found])


def _declared(wanted: NewUpload) -> dict[str, Any]:
    return {
        "file_name": file_name_of(wanted.file_name, ""),
        "size_bytes": wanted.size_bytes,
        "sha256": wanted.sha256,
        "tags": unique(wanted.tags),
        "metadata": wanted.metadata,
    }


def _become(parts: ApiParts, caller: Caller, upload: DirectUpload) -> Any:
    """The image or video that an upload has become, a tombstone, or None."""
    if upload.status != "ingested":
        return None
    image = parts.images.find(caller.tenant, [upload.image_id]).get(upload.image_id)
    return image or parts.videos.find(caller.tenant, upload.video_id)
