"""The bytes of an image: the original and its thumbnails, with caching."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header
from starlette.responses import RedirectResponse, Response

from deeplens.access.caller import Reader
from deeplens.access.metered import count_egress
from deeplens.errors import ObjectNotFound
from deeplens.http.content import (
    AN_HOUR,
    BINARY,
    PRESIGNED_FOR,
    REVALIDATE,
    SAFE,
    content_not_found,
    disposition,
    matches,
)
from deeplens.http.dependencies import Parts
from deeplens.http.fields import ImageIdInPath
from deeplens.http.problems import responses
from deeplens.images.content import locate
from deeplens.images.lookup import MERGED, live_image

router = APIRouter(prefix="/v1/images", tags=["images"])
IfNoneMatch = Annotated[str | None, Header(alias="If-None-Match")]
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "The copy the client has is still right"}}


@router.get(
    "/{image_id}/content",
    summary="The original file",
    response_class=Response,
    responses={
        200: {"content": {"image/*": BINARY}, "description": "The bytes as they were uploaded"},
        307: {"description": "Too large for one answer; follow Location, valid for five minutes"},
        **MERGED,
        **NOT_MODIFIED,
        **responses(404, 409),
    },
)
def get_content(caller: Reader, parts: Parts, image_id: ImageIdInPath, if_none_match: IfNoneMatch = None) -> Response:
    image = live_image(parts.images, caller.tenant, image_id)
    headers = {"ETag": f'"{image.sha256}"', "Cache-Control": REVALIDATE, **SAFE}
    if matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    store, key = locate(parts.stores, caller.tenant, image)
    if image.size_bytes > parts.settings.max_upload_bytes:
        count_egress(parts, caller, image.size_bytes)
        return RedirectResponse(store.presign_get(key, PRESIGNED_FOR), 307, {"Cache-Control": "no-store"})
    try:
        body = store.get(key)
    except ObjectNotFound:
        raise content_not_found(image_id) from None
    count_egress(parts, caller, len(body))
    return Response(
        body, headers=headers | {"Content-Disposition": disposition(image.file_name)}, media_type=image.mime_type
    )


@router.get(
    "/{image_id}/thumbnails/{size}",
    summary="A thumbnail",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": BINARY}, "description": "JPEG that fits 128 × 128 or 512 × 512"},
        **MERGED,
        **NOT_MODIFIED,
        **responses(404),
    },
)
def get_thumbnail(
    caller: Reader,
    parts: Parts,
    image_id: ImageIdInPath,
    size: Literal["small", "medium"],
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Made on the fly when the pipeline has not come to it yet."""
    from deeplens.images.thumbnails import Thumbnails

    image = live_image(parts.images, caller.tenant, image_id)
    headers = {"ETag": f'"{image.sha256[:32]}-{size}"', "Cache-Control": AN_HOUR, **SAFE}
    if matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    thumbnails = Thumbnails(parts.stores, parts.images, parts.limits)
    body = thumbnails(caller.tenant, image, size)
    count_egress(parts, caller, len(body))
    return Response(body, headers=headers, media_type="image/jpeg")
