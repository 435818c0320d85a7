"""Found duplicates."""

from pydantic import AwareDatetime, Field

from deeplens.common.event import ImageId, TenantEvent, Wire


class DuplicateMatch(Wire):
    """The earlier image of a pair; ``score`` is the cosine, 1 for the same bytes."""

    image_id: ImageId
    score: float
    verdict: str
    pair_id: str | None = None
    hash_distance: int | None = Field(default=None, description="bits of 64 in which the pHashes differ")
    aspect_ratio: float | None = None
    pixel_ratio: float | None = None


class DuplicatesFound(TenantEvent):
    """The later image of a pair, and the earlier one."""

    image_id: ImageId
    duplicates: list[DuplicateMatch]
    found_at: AwareDatetime
