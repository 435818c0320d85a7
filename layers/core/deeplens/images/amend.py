"""Changing tags and metadata: the row first, then the payload that searches filter by."""

from collections.abc import Sequence
from typing import Any

from deeplens.http.problems import image_not_found
from deeplens.images.fields import unique
from deeplens.images.lookup import live_image
from deeplens.images.model import ImageRecord, Step
from deeplens.images.payload import payload_of
from deeplens.images.ports import ImageRepository
from deeplens.tenants.model import Tenant
from deeplens.vectors.ports import VectorIndex

REPEATS = 5


class Amend:
    """Replace tags and/or metadata of an image and of its point, if it has one yet.

    An image that is not indexed yet gets its payload from the row when it is.
    """

    def __init__(self, images: ImageRepository, index: VectorIndex) -> None:
        self._images, self._index = images, index

    def __call__(
        self, tenant: Tenant, image_id: str, *, tags: Sequence[str] | None, metadata: dict[str, Any] | None
    ) -> ImageRecord:
        labels = None if tags is None else unique(tags)
        image = self._images.amend(tenant, image_id, tags=labels, metadata=metadata)
        if image is None:
            # Unknown, deleted or merged.
            live_image(self._images, tenant, image_id)
            raise image_not_found(image_id)
        if image.step >= Step.INDEXED:
            self._refresh_point(tenant, image)
        return image

    def _refresh_point(self, tenant: Tenant, image: ImageRecord) -> None:
        """Write the payload until the row is unchanged afterwards: of two concurrent changes the later one wins."""
        for _ in range(REPEATS):
            for owner in map(tenant.using, tenant.models):
                self._index.replace_payload(owner, image.id, payload_of(image, owner))
            latest = self._images.find(tenant, [image.id]).get(image.id)
            if not isinstance(latest, ImageRecord) or latest.revision == image.revision:
                return
            image = latest
