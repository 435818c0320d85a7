"""POST /v1/images and /v1/videos: files of one request. /v1/uploads: files sent to the store. /v1/images/check."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Response, UploadFile

from deeplens.access.caller import Caller, Reader, Writer
from deeplens.common.file_names import file_name_of
from deeplens.common.ids import keyed_id, keyed_upload_id, new_id
from deeplens.common.ports import Clock
from deeplens.http.dependencies import Injected, Publishing
from deeplens.http.fields import IdempotencyKey, UploadIdInPath, idempotency_key
from deeplens.http.files import body_of
from deeplens.http.problems import responses
from deeplens.http.schemas import view
from deeplens.images import views as image_views
from deeplens.images.fields import metadata_of, tags_of, unique
from deeplens.images.ports import ImageRepository
from deeplens.images.schemas import AcceptedImage
from deeplens.imaging.decoder import ImageDecoder
from deeplens.tenants.limits import MaxUploadBytes, largest_file
from deeplens.uploads.accept_form import AcceptUpload, AcceptVideoUpload, Rejected, Upload, checked_upload
from deeplens.uploads.direct import AbortUpload, BeginUpload, CompleteUpload, UploadParts, find_upload
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
from deeplens.videos import views as video_views
from deeplens.videos.schemas import AcceptedVideo

forms = APIRouter()
router = APIRouter(prefix="/v1/uploads", tags=["uploads"])
checks = APIRouter(prefix="/v1/images", tags=["images"])
CREATED: dict[int | str, dict[str, Any]] = {201: documented_headers("the upload", QUOTA_HEADERS)}
FormTags = Annotated[list[str], Form(description="repeated, or one JSON list", max_length=100)]
FormMetadata = Annotated[
    str | None, Form(description='JSON object of scalars, e.g. {"iso": 200}; frames of a video have them as well')
]


@dataclass(frozen=True, slots=True)
class FormFiles:
    """Reads the file, tags and metadata of a form; the id follows from the idempotency key where there is one."""

    decoder: ImageDecoder
    max_upload_bytes: MaxUploadBytes
    clock: Clock

    def __call__(
        self,
        prefix: Literal["img", "vid"],
        caller: Caller,
        file: UploadFile,
        tags: Sequence[str],
        metadata: str | None,
        key: str | None,
    ) -> Upload:
        """The image, or video, of the form. Raises 400 for an invalid key, and as ``checked_upload`` does."""
        key, labels, fields = idempotency_key(key), tags_of(tags), metadata_of(metadata, "body")
        body = body_of(file, largest_file(caller.limits, self.max_upload_bytes))
        media_id = keyed_id(prefix, caller.tenant.id, key) if key else new_id(prefix, self.clock.now())
        keyed = key is not None
        return checked_upload(
            media_id, body, file.filename, lambda: self.decoder, keyed=keyed, tags=labels, metadata=fields
        )


@forms.post(
    "/v1/images",
    tags=["images"],
    status_code=202,
    summary="Upload an image",
    responses={202: documented_headers("the image", QUOTA_HEADERS), **responses(400, 409, 410, 413, 415)},
)
def upload_image(
    caller: Writer,
    files: Injected[FormFiles],
    accept: Injected[AcceptUpload],
    publish: Publishing,
    response: Response,
    file: Annotated[UploadFile, File(description="JPEG, PNG, WebP, GIF, TIFF, BMP, HEIC or AVIF")],
    tags: FormTags = [],  # noqa: B006
    metadata: FormMetadata = None,
    key: IdempotencyKey = None,
) -> AcceptedImage:
    """Store the file and start processing it. Follow ``Location`` until its status is ``completed`` or ``failed``."""
    done = accept(caller.tenant, files("img", caller, file, tags, metadata, key), caller.limits)
    publish(done.events)
    if isinstance(done, Rejected):
        raise done.error
    response.headers.update(upload_headers(image_views.path_of(done.media.id), done.replayed, done.left))
    return image_views.accepted(done.media)


@forms.post(
    "/v1/videos",
    tags=["videos"],
    status_code=202,
    summary="Upload a video",
    responses={202: documented_headers("the video", {}), **responses(400, 410, 413, 415)},
)
def upload_video(
    caller: Writer,
    files: Injected[FormFiles],
    accept: Injected[AcceptVideoUpload],
    publish: Publishing,
    response: Response,
    file: Annotated[UploadFile, File(description="MP4, QuickTime, WebM, Matroska, AVI or MPEG-TS")],
    tags: FormTags = [],  # noqa: B006
    metadata: FormMetadata = None,
    key: IdempotencyKey = None,
) -> AcceptedVideo:
    """For files that fit into one request. Follow ``Location`` until its status is ``completed`` or ``failed``."""
    done = accept(caller.tenant, files("vid", caller, file, tags, metadata, key), caller.limits)
    publish(done.events)
    response.headers.update(upload_headers(video_views.path_of(done.media.id), done.replayed, done.left))
    return video_views.accepted(done.media)


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
    file = body.model_copy(update={"file_name": file_name_of(body.file_name, "")})
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
        KnownFile(
            sha256=digest, image_id=image.id, status=image_views.STATUS[image.step], uploaded_at=image.uploaded_at
        )
        for digest in digests
        if (image := found.get(digest))
    ]
    return CheckedDigests(known=known, new=[digest for digest in digests if digest not in found])
