"""POST /v1/images and POST /v1/videos: files that fit into one request."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, File, Form, Header, Response, UploadFile

from deeplens.access.caller import Caller, Writer
from deeplens.common.ids import keyed_id, new_id
from deeplens.common.ports import Clock
from deeplens.http.dependencies import Injected
from deeplens.http.fields import idempotency_key
from deeplens.http.files import body_of
from deeplens.http.problems import responses
from deeplens.http.publish import Publishing
from deeplens.images import views as image_views
from deeplens.images.fields import metadata_of, tags_of
from deeplens.images.schemas import AcceptedImage
from deeplens.tenants.limits import MaxUploadBytes, largest_file
from deeplens.uploads.accept_form import AcceptUpload, Rejected, Upload, checked_upload
from deeplens.uploads.accept_video_form import AcceptVideoUpload, VideoUpload, checked_video_upload
from deeplens.uploads.quotas import QUOTA_HEADERS, quota_headers
from deeplens.videos import views as video_views
from deeplens.videos.schemas import AcceptedVideo

if TYPE_CHECKING:
    from deeplens.imaging import Limits

router = APIRouter()
REPLAYED = {"Idempotency-Replayed": {"schema": {"type": "string"}, "description": "true for a repeat"}}
FormTags = Annotated[list[str], Form(description="repeated, or one JSON list", max_length=100)]


@dataclass(frozen=True, slots=True)
class FormFiles:
    """Reads the file, tags and metadata of a form; the id follows from the idempotency key where there is one."""

    limits: "Limits"
    max_upload_bytes: MaxUploadBytes
    clock: Clock

    def image(
        self, caller: Caller, file: UploadFile, tags: Sequence[str], metadata: str | None, key: str | None
    ) -> Upload:
        key = idempotency_key(key)
        labels, facts = tags_of(tags), metadata_of(metadata, "body")
        body = self._body(caller, file)
        image_id = self._id("img", caller, key)
        return checked_upload(
            image_id, body, file.filename, self.limits, keyed=key is not None, tags=labels, metadata=facts
        )

    def video(
        self, caller: Caller, file: UploadFile, tags: Sequence[str], metadata: str | None, key: str | None
    ) -> VideoUpload:
        key = idempotency_key(key)
        labels, facts = tags_of(tags), metadata_of(metadata, "body")
        body = self._body(caller, file)
        video_id = self._id("vid", caller, key)
        return checked_video_upload(video_id, body, file.filename, keyed=key is not None, tags=labels, metadata=facts)

    def _body(self, caller: Caller, file: UploadFile) -> bytes:
        return body_of(file, largest_file(caller.limits, self.max_upload_bytes))

    def _id(self, prefix: str, caller: Caller, key: str | None) -> str:
        return keyed_id(prefix, caller.tenant.id, key) if key else new_id(prefix, self.clock.now())


@router.post(
    "/v1/images",
    tags=["images"],
    status_code=202,
    summary="Upload an image",
    responses={
        202: {
            "headers": {
                "Location": {"schema": {"type": "string"}, "description": "the image"},
                **REPLAYED,
                **QUOTA_HEADERS,
            }
        },
        **responses(400, 409, 410, 413, 415),
    },
)
def upload_image(
    caller: Writer,
    files: Injected[FormFiles],
    accept: Injected[AcceptUpload],
    publish: Publishing,
    response: Response,
    file: Annotated[UploadFile, File(description="JPEG, PNG, WebP, GIF, TIFF, BMP, HEIC or AVIF")],
    tags: FormTags = [],  # noqa: B006
    metadata: Annotated[str | None, Form(description='JSON object of scalars, e.g. {"iso": 200}')] = None,
    key: Annotated[
        str | None,
        Header(alias="Idempotency-Key", description="a repeat with the same key and file makes no second image"),
    ] = None,
) -> AcceptedImage:
    """Store the file and start processing it. Follow ``Location`` until its status is ``completed`` or ``failed``."""
    done = accept(caller.tenant, files.image(caller, file, tags, metadata, key), caller.limits)
    publish(done.events)
    if isinstance(done, Rejected):
        raise done.error
    response.headers.update(quota_headers(done.left))
    response.headers["Location"] = image_views.path_of(done.image.id)
    if done.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return image_views.accepted(done.image)


@router.post(
    "/v1/videos",
    tags=["videos"],
    status_code=202,
    summary="Upload a video",
    responses={
        202: {"headers": {"Location": {"schema": {"type": "string"}, "description": "the video"}, **REPLAYED}},
        **responses(400, 410, 413, 415),
    },
)
def upload_video(
    caller: Writer,
    files: Injected[FormFiles],
    accept: Injected[AcceptVideoUpload],
    publish: Publishing,
    response: Response,
    file: Annotated[UploadFile, File(description="MP4, QuickTime, WebM, Matroska, AVI or MPEG-TS")],
    tags: FormTags = [],  # noqa: B006
    metadata: Annotated[str | None, Form(description="JSON object of scalars; frames have them as well")] = None,
    key: Annotated[
        str | None,
        Header(alias="Idempotency-Key", description="a repeat with the same key and file makes no second video"),
    ] = None,
) -> AcceptedVideo:
    """For files that fit into one request. Follow ``Location`` until its status is ``completed`` or ``failed``."""
    done = accept(caller.tenant, files.video(caller, file, tags, metadata, key), caller.limits)
    publish(done.events)
    response.headers["Location"] = video_views.path_of(done.video.id)
    if done.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return video_views.accepted(done.video)
