"""The vectors that a search compares with: of files, of their regions, and of stored images."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from deeplens.embedding.ports import Embedder
from deeplens.errors import ApiError, ObjectNotFound
from deeplens.http.fields import validation_error
from deeplens.images.keys import processed_key
from deeplens.images.model import ImageRecord
from deeplens.images.views import STATUS
from deeplens.search.schemas import MAX_QUERY_IMAGES
from deeplens.storage.ports import StoreResolver
from deeplens.tenants.model import Tenant
from deeplens.vectors.ports import VectorIndex

if TYPE_CHECKING:
    from deeplens.imaging.decoder import ImageDecoder
    from deeplens.imaging.region import Box

MIN_MEAN_LENGTH = 1e-3
"""A shorter mean of unit vectors has no direction: the embeddings cancel out."""
type Vector = Sequence[float]


class QueryImages:
    """Prepare query images exactly as uploads, and embed them."""

    def __init__(self, embedder: Embedder, index: VectorIndex, stores: StoreResolver, decoder: "ImageDecoder") -> None:
        self._embedder, self._index, self._stores, self._decoder = embedder, index, stores, decoder

    def crops_of(
        self, bodies: Sequence[bytes], regions: Sequence[str], stored: ImageRecord | None = None
    ) -> list[bytes]:
        """Standard JPEGs of every region (IIIF syntax, validated) of every image, or of the whole images.

        Regions are in the pixels of ``stored``, if ``bodies`` is a smaller copy of it. Raises ``InvalidImage``, and
        ``RequestValidationError`` for a region outside its image or for too many crops.
        """
        if len(bodies) * max(1, len(regions)) > MAX_QUERY_IMAGES:
            raise validation_error("query", ("region",), f"files × regions may be at most {MAX_QUERY_IMAGES}")
        if not regions:
            return [self._decoder.standard_jpeg(body) for body in bodies]
        boxes = [(body, box) for body in bodies for box in _boxes(body, regions, self._decoder, stored)]
        return [self._decoder.standard_jpeg(body, box) for body, box in boxes]

    def embed(self, tenant: Tenant, crops: Sequence[bytes]) -> list[Vector]:
        return list(self._embedder.embed(crops, tenant.model).tolist())

    def embed_regions(self, tenant: Tenant, image: ImageRecord, regions: Sequence[str]) -> list[Vector]:
        """Vectors of parts of a stored image, cut from the standard JPEG that the pipeline made."""
        try:
            body = self._stores.for_tenant(tenant).get(processed_key(image.id))
        except ObjectNotFound:
            detail = f"The standard image of {image.id} is missing, so no part of it can be searched with."
            raise ApiError(404, "content-not-found", "Content not found", detail) from None
        return self.embed(tenant, self.crops_of([body], regions, image))

    def embed_text(self, tenant: Tenant, text: str) -> Vector:
        """A text's vector. ``ApiError`` 409 when the tenant's model embeds images only."""
        if tenant.text:
            return list(self._embedder.embed_text(text, tenant.model).tolist())
        model = f"{tenant.model.name} {tenant.model.version}"
        detail = (
            f"{model} embeds images only. Have your operator add a model with a text tower, e.g. clip-vit-base, and "
            f"roll it out: POST /v1/admin/tenants/{tenant.id}/models."
        )
        raise ApiError(409, "text-unsupported", "Text search not supported by the model", detail)

    def vector_of(self, tenant: Tenant, image: ImageRecord) -> Vector:
        """The vector of an indexed image. ``ApiError`` 409 before it is indexed."""
        vector = self._index.vector_of(tenant, image.id)
        if vector is None:
            detail = f"{image.id} is {STATUS[image.step]}; it can be compared once it is completed."
            raise ApiError(409, "image-not-searchable", "Image not searchable", detail)
        return vector


def mean_direction(vectors: Sequence[Vector]) -> list[float] | None:
    """The L2-normalised mean of unit vectors; None where they cancel out."""
    mean = [math.fsum(column) / len(vectors) for column in zip(*vectors, strict=True)]
    length = math.hypot(*mean)
    return [value / length for value in mean] if length >= MIN_MEAN_LENGTH else None


def _boxes(body: bytes, regions: Sequence[str], decoder: "ImageDecoder", stored: ImageRecord | None) -> "list[Box]":
    from deeplens.imaging.region import box_of

    header = decoder.inspect(body)
    width, height = (stored and stored.width) or header.width, (stored and stored.height) or header.height
    boxes = [box_of(region, width, height) for region in regions]
    for position, box in enumerate(boxes):
        if box is None:
            raise validation_error("query", ("region", position), f"outside the image of {width} × {height} pixels")
    return [box for box in boxes if box]
