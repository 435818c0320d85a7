"""Finding a tenant's live image, and its original. Unknown, deleted and other tenants' images all answer 404."""

from typing import Any

from deeplens.errors import ImageMerged, InvalidEvent
from deeplens.http.files import content_not_found
from deeplens.http.problems import image_not_found
from deeplens.images.model import ImageRecord, MediaRecord, Tombstone
from deeplens.images.ports import ImageRepository
from deeplens.storage.ports import ObjectStore, StoreResolver
from deeplens.tenants.model import Tenant

MERGED: dict[int | str, dict[str, Any]] = {301: {"description": "Merged into another image; follow Location"}}
MERGED_CHANGE: dict[int | str, dict[str, Any]] = {308: {"description": "Merged into another image; repeat at Location"}}


def resolve_merged(images: ImageRepository, tenant: Tenant, image_id: str) -> ImageRecord:
    """The image, or the image that it was merged into, else 404."""
    try:
        return live_image(images, tenant, image_id)
    except ImageMerged as merged:
        return resolve_merged(images, tenant, merged.into)


def live_image(images: ImageRepository, tenant: Tenant, image_id: str) -> ImageRecord:
    """The image. ``ImageMerged`` if it was merged into another image, else 404."""
    found = images.find(tenant, [image_id]).get(image_id)
    if isinstance(found, Tombstone) and found.merged_into:
        raise ImageMerged(image_id, found.merged_into)
    if not isinstance(found, ImageRecord):
        raise image_not_found(image_id)
    return found


def locate(stores: StoreResolver, tenant: Tenant, media: MediaRecord) -> tuple[ObjectStore, str]:
    """The store of the tenant that holds an original, and its key there. Raises 404 when the store was removed."""
    try:
        store = stores.holding(tenant, media.storage_path)
        return store, store.key_of(media.storage_path)
    except InvalidEvent:
        # The tenant removed its customer-owned store.
        raise content_not_found(media.id) from None
