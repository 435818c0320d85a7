"""/v1/images: upload, look, list, amend, delete."""

from typing import Annotated

from fastapi import APIRouter, Query

from deeplens.access.caller import Reader, Writer
from deeplens.http import cursor
from deeplens.http.dependencies import Parts, Traceparent
from deeplens.http.fields import ImageIdInPath
from deeplens.http.problems import responses
from deeplens.images import views
from deeplens.images.amend import Amend
from deeplens.images.delete import Delete
from deeplens.images.lookup import MERGED, MERGED_CHANGE, live_image
from deeplens.images.model import ImageQuery
from deeplens.images.schemas import DeletedImage, ImageDetail, ImagePage, ImagePatch, ListQuery

router = APIRouter(prefix="/v1/images", tags=["images"])


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


@router.delete("/{image_id}", status_code=202, summary="Delete an image", responses=responses(404))
def delete_image(caller: Writer, parts: Parts, traceparent: Traceparent, image_id: ImageIdInPath) -> DeletedImage:
    """The image is gone from every answer at once; what was stored of it follows. Safe to repeat."""
    Delete(parts.images, parts.publisher, parts.clock)(caller.tenant, image_id, traceparent)
    return DeletedImage(image_id=image_id)
