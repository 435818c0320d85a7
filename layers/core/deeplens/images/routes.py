"""/v1/images: upload, look, list, amend, delete."""

from typing import Annotated

from fastapi import APIRouter, Query

from deeplens.access.caller import Reader, Writer
from deeplens.errors import ApiError
from deeplens.http import cursor
from deeplens.http.dependencies import Injected
from deeplens.http.fields import ImageIdInPath
from deeplens.http.problems import image_not_found, responses
from deeplens.http.publish import Publishing
from deeplens.images import views
from deeplens.images.amend import Amend
from deeplens.images.delete import Delete
from deeplens.images.lookup import MERGED, MERGED_CHANGE, live_image
from deeplens.images.model import MediaQuery, Tombstone
from deeplens.images.ports import ImageRepository
from deeplens.images.schemas import DeletedImage, DeletionReceipt, ImageDetail, ImagePage, ImagePatch, ListQuery

router = APIRouter(prefix="/v1/images", tags=["images"])


@router.get("", summary="List images", responses=responses())
def list_images(caller: Reader, images: Injected[ImageRepository], query: Annotated[ListQuery, Query()]) -> ImagePage:
    """Images newest first; deleted ones never."""
    image_query = MediaQuery(
        # One more than the limit tells whether there is a next page.
        limit=query.limit + 1,
        statuses=tuple(query.status),
        tags=tuple(query.tag),
        uploaded_from=query.uploaded_from,
        uploaded_before=query.uploaded_before,
        after=cursor.read(query.cursor) if query.cursor else None,
    )
    found = images.page(caller.tenant, image_query)
    page, following = cursor.page_of(found, query.limit, lambda image: (image.uploaded_at, image.id))
    return ImagePage(images=[views.summary(image, caller.tenant) for image in page], next_cursor=following)


@router.get("/{image_id}", summary="Status and timeline of an image", responses=MERGED | responses(404))
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
    """Searches see the change when this answers; the image is not embedded again."""
    image = amend(caller.tenant, image_id, tags=patch.tags, metadata=patch.metadata)
    return views.detail(image, caller.tenant, images.timeline(caller.tenant, image_id))


@router.delete("/{image_id}", status_code=202, summary="Delete an image", responses=responses(404))
def delete_image(
    caller: Writer, delete: Injected[Delete], publish: Publishing, image_id: ImageIdInPath
) -> DeletedImage:
    """The image is gone from every answer at once; what was stored of it follows. Safe to repeat."""
    publish([delete(caller.tenant, image_id)])
    return DeletedImage(image_id=image_id)


@router.get("/{image_id}/receipt", summary="What the deletion removed", responses=responses(404, 409))
def deletion_receipt(caller: Reader, images: Injected[ImageRepository], image_id: ImageIdInPath) -> DeletionReceipt:
    """Kept for 37 days. ``deleting`` until everything is gone; then the receipt lists what was removed."""
    found = images.find(caller.tenant, [image_id]).get(image_id)
    if found is None:
        raise image_not_found(image_id)
    if not isinstance(found, Tombstone):
        raise ApiError(409, "image-not-deleted", "Image not deleted", f"{image_id} was not deleted; it has no receipt.")
    if found.receipt is None:
        return DeletionReceipt(image_id=image_id, status="deleting", requested_at=found.deleted_at)
    receipt = found.receipt
    return DeletionReceipt(
        image_id=image_id,
        status="deleted",
        requested_at=found.deleted_at,
        completed_at=receipt.get("deletedAt"),
        objects=receipt.get("objects", []),
        vectors=receipt.get("vectors", 0),
        models=receipt.get("models", []),
        row_removed=True,
    )
