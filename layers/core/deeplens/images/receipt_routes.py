"""/v1/images/{id}/receipt: what a deletion removed."""

from fastapi import APIRouter

from deeplens.access.caller import Reader
from deeplens.errors import ApiError
from deeplens.http.dependencies import Parts
from deeplens.http.fields import ImageIdInPath
from deeplens.http.problems import image_not_found, responses
from deeplens.images.model import Tombstone
from deeplens.images.schemas import DeletionReceipt

router = APIRouter(prefix="/v1/images", tags=["images"])


@router.get("/{image_id}/receipt", summary="What the deletion removed", responses=responses(404, 409))
def deletion_receipt(caller: Reader, parts: Parts, image_id: ImageIdInPath) -> DeletionReceipt:
    """Kept for 37 days. ``deleting`` until everything is gone; after that the receipt lists all that was removed."""
    found = parts.images.find(caller.tenant, [image_id]).get(image_id)
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
