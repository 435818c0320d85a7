"""POST /v1/images and POST /v1/videos: files that fit into one request."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Response, UploadFile

from deeplens.access.caller import Caller, Writer
from deeplens.common.ids import keyed_id, new_id
from deeplens.common.ports import Clock
from deeplens.http.dependencies import Injected, Publishing
from deeplens.http.fields import IdempotencyKey, idempotency_key
from deeplens.http.files import body_of
from deeplens.http.problems import responses
from deeplens.images import views as image_views
from deeplens.images.fields import metadata_of, tags_of
from deeplens.images.schemas import AcceptedImage
from deeplens.imaging.decoder import ImageDecoder
from deeplens.tenants.limits import MaxUploadBytes, largest_file
from deeplens.uploads.accept_form import (
    AcceptUpload,
    AcceptVideoUpload,
    Rejected,
    Upload,
    checked_upload,
    checked_video_upload,
)
from deeplens.uploads.quotas import QUOTA_HEADERS, documented_headers, upload_headers
from deeplens.videos import views as video_views
from deeplens.videos.schemas import AcceptedVideo

router = APIRouter()
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
        key = idempotency_key(key)
        fields: dict[str, Any] = {
            "tags": tags_of(tags),
            "metadata": metadata_of(metadata, "body"),
            "keyed": key is not None,
        }
        body = body_of(file, largest_file(caller.limits, self.max_upload_bytes))
        media_id = keyed_id(prefix, caller.tenant.id, key) if key else new_id(prefix, self.clock.now())
        if prefix == "vid":
            return checked_video_upload(media_id, body, file.filename, **fields)
        return checked_upload(media_id, body, file.filename, self.decoder, **fields)


@router.post(
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


@router.post(
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
