"""POST /v1/images and POST /v1/videos: files that fit into one request."""

import hashlib
from typing import Annotated

from fastapi import APIRouter, File, Form, Header, Response, UploadFile

from deeplens.access.caller import Caller, Writer
from deeplens.common.file_names import file_name_of
from deeplens.common.ids import keyed_id, keyed_image_id, new_id, new_image_id
from deeplens.http.dependencies import ApiParts, Parts, Traceparent
from deeplens.http.fields import idempotency_key
from deeplens.http.files import body_of
from deeplens.http.problems import responses
from deeplens.images import views as image_views
from deeplens.images.fields import metadata_of, tags_of
from deeplens.images.schemas import AcceptedImage
from deeplens.tenants.limits import largest_file
from deeplens.uploads.accept_form import AcceptUpload, Upload
from deeplens.uploads.accept_video_form import AcceptVideoUpload, VideoUpload
from deeplens.uploads.quotas import QUOTA_HEADERS, quota_headers
from deeplens.videos import views as video_views
from deeplens.videos.accept import AcceptVideo
from deeplens.videos.schemas import AcceptedVideo

router = APIRouter()


@router.post(
    "/v1/images",
    tags=["images"],
    status_code=202,
    summary="Upload an image",
    responses={
        202: {
            "headers": {
                "Location": {"schema": {"type": "string"}, "description": "the image"},
                "Idempotency-Replayed": {"schema": {"type": "string"}, "description": "true for a repeat"},
                **QUOTA_HEADERS,
            }
        },
        **responses(400, 409, 410, 413, 415),
    },
)
def upload_image(
    caller: Writer,
    parts: Parts,
    traceparent: Traceparent,
    response: Response,
    file: Annotated[UploadFile, File(description="JPEG, PNG, WebP, GIF, TIFF, BMP, HEIC or AVIF")],
    tags: Annotated[list[str], Form(description="repeated, or one JSON list", max_length=100)] = [],  # noqa: B006
    metadata: Annotated[str | None, Form(description='JSON object of scalars, e.g. {"iso": 200}')] = None,
    key: Annotated[
        str | None,
        Header(alias="Idempotency-Key", description="a repeat with the same key and file makes no second image"),
    ] = None,
) -> AcceptedImage:
    """Store the file and start processing it. Follow ``Location`` until its status is ``completed`` or ``failed``."""
    upload = _image_of(parts, caller, file, tags, metadata, idempotency_key(key))
    done = _accept(parts)(caller.tenant, upload, caller.limits, traceparent)
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
        202: {
            "headers": {
                "Location": {"schema": {"type": "string"}, "description": "the video"},
                "Idempotency-Replayed": {"schema": {"type": "string"}, "description": "true for a repeat"},
            }
        },
        **responses(400, 410, 413, 415),
    },
)
def upload_video(
    caller: Writer,
    parts: Parts,
    traceparent: Traceparent,
    response: Response,
    file: Annotated[UploadFile, File(description="MP4, QuickTime, WebM, Matroska, AVI or MPEG-TS")],
    tags: Annotated[list[str], Form(description="repeated, or one JSON list", max_length=100)] = [],  # noqa: B006
    metadata: Annotated[str | None, Form(description="JSON object of scalars; frames have them as well")] = None,
    key: Annotated[
        str | None,
        Header(alias="Idempotency-Key", description="a repeat with the same key and file makes no second video"),
    ] = None,
) -> AcceptedVideo:
    """For files that fit into one request. Follow ``Location`` until its status is ``completed`` or ``failed``."""
    upload = _video_of(parts, caller, file, tags, metadata, idempotency_key(key))
    accept = AcceptVideo(parts.videos, parts.pending_videos, parts.pending_videos_due, parts.clock)
    done = AcceptVideoUpload(accept, parts.stores, parts.videos, parts.images, parts.publisher, parts.clock)
    video, replayed = done(caller.tenant, upload, caller.limits, traceparent)
    response.headers["Location"] = video_views.path_of(video.id)
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return video_views.accepted(video)


def _image_of(
    parts: ApiParts, caller: Caller, file: UploadFile, tags: list[str], metadata: str | None, key: str | None
) -> Upload:
    from deeplens.imaging import inspect

    labels, facts = tags_of(tags), metadata_of(metadata, "body")
    body = body_of(file, largest_file(caller.limits, parts.settings.max_upload_bytes))
    header = inspect(body, parts.limits)
    return Upload(
        image_id=keyed_image_id(caller.tenant.id, key) if key else new_image_id(parts.clock.now()),
        keyed=key is not None,
        body=body,
        sha256=hashlib.sha256(body).hexdigest(),
        file_name=file_name_of(file.filename, header.type.extension),
        mime_type=header.type.mime_type,
        extension=header.type.extension,
        format=header.type.format,
        width=header.width,
        height=header.height,
        tags=labels,
        metadata=facts,
    )


def _accept(parts: ApiParts) -> AcceptUpload:
    return AcceptUpload(
        parts.stores,
        parts.images,
        parts.duplicates,
        parts.pending,
        parts.publisher,
        parts.clock,
        parts.pending_due,
    )


def _video_of(
    parts: ApiParts, caller: Caller, file: UploadFile, tags: list[str], metadata: str | None, key: str | None
) -> VideoUpload:
    from deeplens.formats.videos import HEAD_BYTES, sniff_video

    labels, facts = tags_of(tags), metadata_of(metadata, "body")
    body = body_of(file, largest_file(caller.limits, parts.settings.max_upload_bytes))
    kind = sniff_video(body[:HEAD_BYTES])
    return VideoUpload(
        video_id=keyed_id("vid", caller.tenant.id, key) if key else new_id("vid", parts.clock.now()),
        keyed=key is not None,
        body=body,
        file_name=file_name_of(file.filename, kind.extension, "video"),
        mime_type=kind.mime_type,
        extension=kind.extension,
        tags=labels,
        metadata=facts,
    )
