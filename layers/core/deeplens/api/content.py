"""The bytes of an image: the original and its thumbnails, with caching."""

import re
from datetime import timedelta
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Header
from starlette.responses import RedirectResponse, Response

from deeplens.api.auth import Reader
from deeplens.api.fields import ImageIdInPath
from deeplens.api.lookup import MERGED, live_image
from deeplens.api.metered import count_egress
from deeplens.api.parts import ApiParts, Parts
from deeplens.api.problems import responses
from deeplens.domain import ImageRecord, Tenant
from deeplens.errors import ApiError, InvalidEvent, ObjectNotFound
from deeplens.ports import ObjectStore
from deeplens.videos import VideoRecord

router = APIRouter(prefix="/v1/images", tags=["images"])
PRESIGNED_FOR = timedelta(minutes=5)
# A deleted image has to vanish at once, so originals are asked for again each time; thumbnails may linger an hour.
REVALIDATE, AN_HOUR = "private, no-cache", "private, max-age=3600"
SAFE = {"Content-Security-Policy": "default-src 'none'; sandbox", "Vary": "X-API-Key"}
IfNoneMatch = Annotated[str | None, Header(alias="If-None-Match")]
BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
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
    store, key = located(parts, caller.tenant, image)
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
    from deeplens.api.thumbnails import Thumbnails

    image = live_image(parts.images, caller.tenant, image_id)
    headers = {"ETag": f'"{image.sha256[:32]}-{size}"', "Cache-Control": AN_HOUR, **SAFE}
    if matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    thumbnails = Thumbnails(parts.stores, parts.images, parts.limits)
    body = thumbnails(caller.tenant, image, size)
    count_egress(parts, caller, len(body))
    return Response(body, headers=headers, media_type="image/jpeg")


def located(parts: ApiParts, tenant: Tenant, image: ImageRecord | VideoRecord) -> tuple[ObjectStore, str]:
    """The store of the tenant's that holds an original, and its key there."""
    try:
        store = parts.stores.holding(tenant, image.storage_path)
        return store, store.key_of(image.storage_path)
    except InvalidEvent:
        # The tenant has taken its own store away again.
        raise content_not_found(image.id) from None


def content_not_found(image_id: str) -> ApiError:
    return ApiError(404, "content-not-found", "Content not found", f"The file of {image_id} is missing.")


def matches(if_none_match: str | None, etag: str) -> bool:
    """Weak comparison, RFC 9110 13.1.2."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or etag in re.findall(r'"[^"]*"', if_none_match)


def disposition(file_name: str) -> str:
    """The file's name in ASCII, and in full as RFC 8187 has it."""
    plain = re.sub(r'[^\x20-\x7e]|["\\%]', "_", file_name)
    return f"inline; filename=\"{plain}\"; filename*=UTF-8''{quote(file_name, safe='')}"
