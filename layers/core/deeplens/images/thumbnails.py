"""Thumbnails, created on the fly where they are missing."""

from deeplens.errors import ApiError, InvalidEvent, InvalidImage, ObjectNotFound
from deeplens.http.problems import image_not_found
from deeplens.images.keys import processed_key, thumbnail_key
from deeplens.images.model import ImageRecord
from deeplens.images.ports import ImageRepository
from deeplens.imaging.decoder import ImageDecoder
from deeplens.storage.ports import ObjectStore, StoreResolver
from deeplens.tenants.model import Tenant


class Thumbnails:
    """Read a thumbnail, or create it from the standard JPEG or the original, and store it."""

    def __init__(self, stores: StoreResolver, images: ImageRepository, decoder: ImageDecoder) -> None:
        self._stores, self._images, self._decoder = stores, images, decoder

    def __call__(self, tenant: Tenant, image: ImageRecord, size: str) -> bytes:
        """The JPEG file. Raises ``ApiError`` 404 when the image was deleted or cannot be decoded."""
        store = self._stores.for_tenant(tenant)
        try:
            return store.get(thumbnail_key(image.id, size))
        except ObjectNotFound:
            return self._make(tenant, store, image, size)

    def _make(self, tenant: Tenant, store: ObjectStore, image: ImageRecord, size: str) -> bytes:
        try:
            made = self._decoder.thumbnail(self._source(tenant, store, image), size)
        except (InvalidEvent, InvalidImage, ObjectNotFound) as error:
            detail = f"No thumbnail can be made of {image.id}: {error}."
            raise ApiError(404, "thumbnail-unavailable", "Thumbnail unavailable", detail) from None
        key = thumbnail_key(image.id, size)
        store.put(key, made, "image/jpeg")
        # Read the row after the last write: a thumbnail of an image deleted meanwhile must not stay.
        if not isinstance(self._images.find(tenant, [image.id]).get(image.id), ImageRecord):
            store.delete([key])
            raise image_not_found(image.id)
        return made

    def _source(self, tenant: Tenant, store: ObjectStore, image: ImageRecord) -> bytes:
        try:
            return store.get(processed_key(image.id))
        except ObjectNotFound:
            holding = self._stores.holding(tenant, image.storage_path)
            return holding.get(holding.key_of(image.storage_path))
