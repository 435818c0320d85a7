"""The bytes of an image: the original and its thumbnails, with caching."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header
from starlette.responses import RedirectResponse, Response

from deeplens.access.caller import Reader
from deeplens.access.request_counter import RequestCounter
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
from deeplens.http.dependencies import Injected
from deeplens.http.fields import ImageIdInPath
from deeplens.http.problems import responses
from deeplens.images.content import locate
from deeplens.images.lookup import MERGED, live_image
from deeplens.images.ports import ImageRepository
from deeplens.images.thumbnails import Thumbnails
from deeplens.storage.ports import StoreResolver
from deeplens.tenants.limits import MaxUploadBytes

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
def get_content(
    caller: Reader,
    images: Injected[ImageRepository],
    stores: Injected[StoreResolver],
    counter: Injected[RequestCounter],
    max_upload_bytes: Injected[MaxUploadBytes],
    image_id: ImageIdInPath,
    if_none_match: IfNoneMatch = None,
) -> Response:
    image = live_image(images, caller.tenant, image_id)
    headers = {"ETag": f'"{image.sha256}"', "Cache-Control": REVALIDATE, **SAFE}
    if matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    store, key = locate(stores, caller.tenant, image)
    if image.size_bytes > max_upload_bytes:
        counter.count_egress(caller.tenant.id, image.size_bytes)
        return RedirectResponse(store.presign_get(key, PRESIGNED_FOR), 307, {"Cache-Control": "no-store"})
    try:
        body = store.get(key)
    except ObjectNotFound:
        raise content_not_found(image_id) from None
    counter.count_egress(caller.tenant.id, len(body))
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
    images: Injected[ImageRepository],
    thumbnails: Injected[Thumbnails],
    counter: Injected[RequestCounter],
    image_id: ImageIdInPath,
    size: Literal["small", "medium"],
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Created on the fly while the pipeline has not created it yet."""
    image = live_image(images, caller.tenant, image_id)
    headers = {"ETag": f'"{image.sha256[:32]}-{size}"', "Cache-Control": AN_HOUR, **SAFE}
    if matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    body = thumbnails(caller.tenant, image, size)
    counter.count_egress(caller.tenant.id, len(body))
    return Response(body, headers=headers, media_type="image/jpeg")
