"""/v1/images: list, read, change and delete images; their originals, thumbnails and events."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query
from starlette.responses import RedirectResponse, Response

from deeplens.access.caller import Reader, Writer
from deeplens.access.request_counter import RequestCounter
from deeplens.common.ports import Clock
from deeplens.errors import ApiError, ObjectNotFound
from deeplens.http import cursor
from deeplens.http.dependencies import Injected, Publishing
from deeplens.http.fields import ImageIdInPath, validation_error
from deeplens.http.files import (
    AN_HOUR,
    BINARY,
    PRESIGNED_FOR,
    REVALIDATE,
    SAFE,
    content_not_found,
    disposition,
    matches,
)
from deeplens.http.problems import image_not_found, responses
from deeplens.images import views
from deeplens.images.amend import Amend
from deeplens.images.delete import delete
from deeplens.images.fields import media_query
from deeplens.images.lookup import MERGED, MERGED_CHANGE, live_image, locate
from deeplens.images.model import LogPosition, LogQuery, Step, Tombstone
from deeplens.images.ports import EventLog, ImageRepository
from deeplens.images.schemas import (
    DeletedImage,
    DeletionReceipt,
    EventPage,
    ImageDetail,
    ImagePage,
    ImagePatch,
    ImageTimeline,
    ListQuery,
    LogQueryParameters,
)
from deeplens.images.thumbnails import Thumbnails
from deeplens.storage.ports import StoreResolver
from deeplens.tenants.limits import MaxUploadBytes

router = APIRouter(prefix="/v1/images", tags=["images"])
timelines = APIRouter(prefix="/v1", tags=["events"])
IfNoneMatch = Annotated[str | None, Header(alias="If-None-Match")]
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "The client's copy is current"}}


@router.get("", summary="List images", responses=responses())
def list_images(caller: Reader, images: Injected[ImageRepository], query: Annotated[ListQuery, Query()]) -> ImagePage:
    """Images, newest first, without deleted ones."""
    found = images.page(caller.tenant, media_query(query, cursor.IMAGE_ID))
    page, following = cursor.page_of(found, query.limit, lambda image: (image.uploaded_at, image.id))
    return ImagePage(images=[views.summary(image, caller.tenant) for image in page], next_cursor=following)


@router.get("/{image_id}", summary="Get the status and timeline of an image", responses=MERGED | responses(404))
def get_image(caller: Reader, images: Injected[ImageRepository], image_id: ImageIdInPath) -> ImageDetail:
    image = live_image(images, caller.tenant, image_id)
    return views.detail(image, caller.tenant, images.timeline(caller.tenant, image_id))


@router.patch("/{image_id}", summary="Replace tags or metadata", responses=MERGED_CHANGE | responses(400, 404))
def amend_image(
    caller: Writer,
    images: Injected[ImageRepository],
    amend: Injected[Amend],
    image_id: ImageIdInPath,
    patch: ImagePatch,
) -> ImageDetail:
    """Searches see the change as soon as the request is answered; the image is not embedded again."""
    image = amend(caller.tenant, image_id, tags=patch.tags, metadata=patch.metadata)
    return views.detail(image, caller.tenant, images.timeline(caller.tenant, image_id))


@router.delete("/{image_id}", status_code=202, summary="Delete an image", responses=responses(404))
def delete_image(
    caller: Writer,
    images: Injected[ImageRepository],
    clock: Injected[Clock],
    publish: Publishing,
    image_id: ImageIdInPath,
) -> DeletedImage:
    """The image disappears from every answer at once; stored data is removed shortly. Safe to repeat."""
    publish([delete(images, caller.tenant, image_id, clock.now())])
    return DeletedImage(image_id=image_id)


@router.get("/{image_id}/receipt", summary="Get the receipt of a deletion", responses=responses(404, 409))
def deletion_receipt(caller: Reader, images: Injected[ImageRepository], image_id: ImageIdInPath) -> DeletionReceipt:
    """Kept for 37 days. ``deleting`` until everything is gone; then the receipt lists what was removed."""
    found = images.find(caller.tenant, [image_id]).get(image_id)
    if found is None:
        raise image_not_found(image_id)
    if not isinstance(found, Tombstone):
        raise ApiError(409, "image-not-deleted", "Image not deleted", f"{image_id} was not deleted; it has no receipt.")
    deleted, receipt = found.receipt is not None, found.receipt or {}
    return DeletionReceipt(
        image_id=image_id,
        status="deleted" if deleted else "deleting",
        requested_at=found.deleted_at,
        completed_at=receipt.get("deletedAt"),
        objects=receipt.get("objects", []),
        vectors=receipt.get("vectors", 0),
        models=receipt.get("models", []),
        row_removed=deleted,
    )


@router.get(
    "/{image_id}/content",
    summary="Get the original file",
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
    summary="Get a thumbnail",
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


@timelines.get("/events", summary="List events of all images", responses=responses())
def list_events(caller: Reader, log: Injected[EventLog], query: Annotated[LogQueryParameters, Query()]) -> EventPage:
    """Every stage of every image with its time and reason, newest first. To follow new events, pass
    ``tailCursor`` as ``after``: each answer has the events recorded since, in order, and none is missed.
    Events of deleted images are deleted with them."""
    if query.cursor and query.after:
        raise validation_error("query", ("after",), "not together with cursor")
    # Read first: what is recorded while the page is read comes with the tail.
    settled = None if query.after else log.settled(caller.tenant)
    log_query = LogQuery(
        # One more than the limit tells whether there is a next page.
        limit=query.limit + 1,
        image_id=query.image_id,
        stage=query.stage,
        step=Step[query.status.upper()] if query.status else None,
        errors=query.errors,
        before=_read(query.cursor) if query.cursor else None,
        after=_read(query.after) if query.after else None,
    )
    found = log.page(caller.tenant, log_query)
    events, following = cursor.page_of(found, query.limit, lambda event: (event.recorded_at, str(event.id)))
    return EventPage(
        events=[views.logged(event) for event in events],
        next_cursor=None if query.after else following,
        tail_cursor=_write(settled) if settled else _write(events[-1].position) if events else query.after or "",
    )


@timelines.get("/images/{image_id}/events", summary="List events of an image", responses=responses(404))
def image_events(caller: Reader, images: Injected[ImageRepository], image_id: ImageIdInPath) -> ImageTimeline:
    live_image(images, caller.tenant, image_id)
    timeline = images.timeline(caller.tenant, image_id)
    return ImageTimeline(image_id=image_id, events=[views.stage(entry) for entry in timeline])


def _write(position: LogPosition) -> str:
    at, event_id = position
    return cursor.write((at, str(event_id)))


def _read(position: str) -> LogPosition:
    at, event_id = cursor.read(position, cursor.EVENT_ID)
    return at, int(event_id)
