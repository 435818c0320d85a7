"""/v1/images: upload, look, list, amend, delete."""

import hashlib
from typing import Annotated

from fastapi import APIRouter, File, Form, Header, Query, Response, UploadFile

from deeplens.api import cursor, views
from deeplens.api.amendments import Amend
from deeplens.api.auth import Caller, Reader, Writer
from deeplens.api.deletions import Delete
from deeplens.api.fields import ImageIdInPath, file_name_of, idempotency_key, metadata_of, tags_of
from deeplens.api.files import body_of
from deeplens.api.ids import keyed_image_id, new_image_id
from deeplens.api.lookup import MERGED, MERGED_CHANGE, live_image
from deeplens.api.parts import ApiParts, Parts, Traceparent
from deeplens.api.problems import responses
from deeplens.api.quotas import QUOTA_HEADERS, largest_file, quota_headers
from deeplens.api.renewal import Renew, RetryImage
from deeplens.api.uploads import AcceptUpload, Upload
from deeplens.contracts.api import AcceptedImage, DeletedImage, ImageDetail, ImagePage, ImagePatch, ListQuery
from deeplens.domain import ImageQuery

router = APIRouter(prefix="/v1/images", tags=["images"])


@router.post(
    "",
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
    upload = _upload(parts, caller, file, tags, metadata, idempotency_key(key))
    done = _accept(parts)(caller.tenant, upload, caller.limits, traceparent)
    response.headers.update(quota_headers(done.left))
    response.headers["Location"] = views.path_of(done.image.id)
    if done.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return views.accepted(done.image)


@router.get("", summary="List images", responses=responses())
def list_images(caller: Reader, parts: Parts, query: Annotated[ListQuery, Query()]) -> ImagePage:
    """Images newest first; deleted ones never."""
    wanted = ImageQuery(
        # One more than asked for tells whether there is a next page.
        limit=query.limit + 1,
        statuses=tuple(query.status),
        tags=tuple(query.tag),
        uploaded_from=query.uploaded_from,
        uploaded_before=query.uploaded_before,
        after=cursor.read(query.cursor) if query.cursor else None,
    )
    found = parts.images.page(caller.tenant, wanted)
    shown = found[: query.limit]
    more = len(found) > query.limit
    return ImagePage(
        images=[views.summary(image, caller.tenant) for image in shown],
        next_cursor=cursor.write((shown[-1].uploaded_at, shown[-1].id)) if more else None,
    )


@router.get("/{image_id}", summary="Status and timeline of an image", responses=MERGED | responses(404))
def get_image(caller: Reader, parts: Parts, image_id: ImageIdInPath) -> ImageDetail:
    image = live_image(parts.images, caller.tenant, image_id)
    return views.detail(image, caller.tenant, parts.images.timeline(caller.tenant, image_id))


@router.patch("/{image_id}", summary="Replace tags or metadata", responses=MERGED_CHANGE | responses(400, 404))
def amend_image(caller: Writer, parts: Parts, image_id: ImageIdInPath, patch: ImagePatch) -> ImageDetail:
    """Searches see the change when this answers; the image is not embedded again."""
    amend = Amend(parts.images, parts.index)
    image = amend(caller.tenant, image_id, tags=patch.tags, metadata=patch.metadata)
    return views.detail(image, caller.tenant, parts.images.timeline(caller.tenant, image_id))


@router.post(
    "/{image_id}/retry",
    status_code=202,
    summary="Process a failed image again",
    responses={
        202: {"headers": {"Location": {"schema": {"type": "string"}, "description": "the image"}}},
        **MERGED_CHANGE,
        **responses(404, 409),
    },
)
def retry_image(
    caller: Writer, parts: Parts, traceparent: Traceparent, response: Response, image_id: ImageIdInPath
) -> AcceptedImage:
    """From the start. 409 unless it has failed, so a repeat is safe."""
    image = live_image(parts.images, caller.tenant, image_id)
    renew = Renew(parts.images, parts.pending, parts.pending_due, parts.clock)
    RetryImage(renew, parts.dead_letters, parts.publisher, parts.clock)(caller.tenant, image, traceparent)
    response.headers["Location"] = views.path_of(image.id)
    return views.accepted(image)


@router.delete("/{image_id}", status_code=202, summary="Delete an image", responses=responses(404))
def delete_image(caller: Writer, parts: Parts, traceparent: Traceparent, image_id: ImageIdInPath) -> DeletedImage:
    """The image is gone from every answer at once; what was stored of it follows. Safe to repeat."""
    Delete(parts.images, parts.publisher, parts.clock)(caller.tenant, image_id, traceparent)
    return DeletedImage(image_id=image_id)


def _upload(
    parts: ApiParts, caller: Caller, file: UploadFile, tags: list[str], metadata: str | None, key: str | None
) -> Upload:
    from deeplens.imaging import inspect

    labels, facts = tags_of(tags), metadata_of(metadata, "body")
    body = body_of(file, largest_file(caller.limits, parts.settings))
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
