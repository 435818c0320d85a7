"""A tenant's live image or video, or the one answer to all others: unknown, deleted, or of another tenant."""

from typing import Any

from deeplens.errors import ImageMerged
from deeplens.http.problems import image_not_found
from deeplens.images.model import ImageRecord, Tombstone
from deeplens.images.ports import ImageRepository
from deeplens.tenants.model import Tenant

MERGED: dict[int | str, dict[str, Any]] = {301: {"description": "Merged into another image; follow Location"}}
MERGED_CHANGE: dict[int | str, dict[str, Any]] = {308: {"description": "Merged into another image; repeat at Location"}}


def answering_image(images: ImageRepository, tenant: Tenant, image_id: str) -> ImageRecord:
    """The image, or the one that it was merged into. 404 for all others."""
    try:
        return live_image(images, tenant, image_id)
    except ImageMerged as merged:
        return answering_image(images, tenant, merged.into)


def live_image(images: ImageRepository, tenant: Tenant, image_id: str) -> ImageRecord:
    """The image. ``ImageMerged`` where another one answers for it, 404 for all others."""
    found = images.find(tenant, [image_id]).get(image_id)
    if isinstance(found, Tombstone) and found.merged_into:
        raise ImageMerged(image_id, found.merged_into)
    if not isinstance(found, ImageRecord):
        raise image_not_found(image_id)
    return found
