"""What a search compares with: files and their regions as standard images, vectors as one direction."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from deeplens.errors import ApiError, ObjectNotFound
from deeplens.http.fields import refusal
from deeplens.images.keys import processed_key
from deeplens.images.model import ImageRecord
from deeplens.search.schemas import MAX_QUERY_IMAGES
from deeplens.storage.ports import StoreResolver
from deeplens.tenants.model import Tenant

if TYPE_CHECKING:
    from deeplens.imaging import Box, Limits

LEAST_MEAN = 1e-3
"""A shorter mean of unit vectors is no direction but noise."""


def crops_of(
    bodies: Sequence[bytes], regions: Sequence[str], limits: "Limits", stored: ImageRecord | None = None
) -> list[bytes]:
    """Standard JPEGs of every region of every image, or of the images whole.

    Parameters
    ----------
    regions : IIIF syntax, already checked.
    stored : the image that ``bodies`` shows smaller; regions are in its pixels.

    Raises
    ------
    RequestValidationError
        A region is outside an image, or there are more crops than a search may compare with.
    InvalidImage
    """
    from deeplens.imaging import WHOLE, standard_jpeg

    if len(bodies) * max(1, len(regions)) > MAX_QUERY_IMAGES:
        raise refusal("query", ("region",), f"files × regions may be at most {MAX_QUERY_IMAGES}")
    if not regions:
        return [standard_jpeg(body, limits, WHOLE) for body in bodies]
    boxes = [(body, box) for body in bodies for box in _boxes(body, regions, limits, stored)]
    return [standard_jpeg(body, limits, box) for body, box in boxes]


def stored_jpeg(stores: StoreResolver, tenant: Tenant, image: ImageRecord) -> bytes:
    """The standard JPEG that the pipeline made of an image."""
    try:
        return stores.for_tenant(tenant).get(processed_key(image.id))
    except ObjectNotFound:
        detail = f"The standard image of {image.id} is missing, so no part of it can be searched with."
        raise ApiError(404, "content-not-found", "Content not found", detail) from None


def mean_direction(vectors: Sequence[Sequence[float]]) -> list[float] | None:
    """The L2-normalised mean of unit vectors; None where they cancel out."""
    mean = [math.fsum(column) / len(vectors) for column in zip(*vectors, strict=True)]
    length = math.hypot(*mean)
    return [value / length for value in mean] if length >= LEAST_MEAN else None


def _boxes(body: bytes, regions: Sequence[str], limits: "Limits", stored: ImageRecord | None) -> "list[Box]":
    from deeplens.imaging import box_of, inspect

    header = inspect(body, limits)
    width, height = (stored and stored.width) or header.width, (stored and stored.height) or header.height
    boxes = [box_of(region, width, height) for region in regions]
    for position, box in enumerate(boxes):
        if box is None:
            raise refusal("query", ("region", position), f"outside the image of {width} × {height} pixels")
    return [box for box in boxes if box]
