"""HTTP queries and bodies of searches."""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, ConfigDict, Field, StringConstraints

from deeplens.embedding.model import MatchLabel
from deeplens.http.schemas import AT, ID, ApiModel, ModelVersion, example
from deeplens.images.schemas import Filters
from deeplens.videos.schemas import VideoMatch

MAX_QUERY_IMAGES = 8
"""Vectors that one search compares with: files × regions, or ids."""
Combine = Literal["best", "average"]
ImageId = Annotated[str, StringConstraints(pattern=r"^img_[a-z0-9]{1,40}$")]
Region = Annotated[
    str, StringConstraints(max_length=80, pattern=r"^(pct:)?[0-9]{1,9}(\.[0-9]{1,9})?(,[0-9]{1,9}(\.[0-9]{1,9})?){3}$")
]
FOUND = {
    "rank": 1,
    "imageId": ID,
    "score": 0.9312,
    "match": "near-duplicate",
    "thumbnailUrl": f"/v1/images/{ID}/thumbnails/small",
    "fileName": "harbour.jpg",
    "tags": ["landscape", "sea"],
    "metadata": {"camera": "X100", "iso": 200},
    "uploadedAt": AT,
}


class SearchQuery(Filters):
    limit: int = Field(default=20, ge=1, le=100)
    threshold: float | None = Field(
        default=None, ge=-1, le=1, allow_inf_nan=False, description="minimum cosine similarity; absent: no minimum"
    )
    metadata: str | None = Field(
        default=None,
        max_length=4096,
        description='JSON object of scalars that must be equal, types included, e.g. {"camera":"X100","iso":200}',
    )


class CombinedQuery(SearchQuery):
    """A search that may compare with several vectors."""

    combine: Combine = Field(
        default="best",
        description="for several query images: ``best`` scores a result by the nearest of them, "
        "``average`` by its nearness to their mean direction",
    )


class RegionQuery(CombinedQuery):
    region: list[Region] = Field(
        default=[],
        max_length=MAX_QUERY_IMAGES,
        description="search with this part of the image only; repeatable. IIIF syntax: ``x,y,w,h`` in pixels of the "
        "upright original, or ``pct:x,y,w,h`` in percent; a region is cut at the image's edges",
        examples=[["pct:25,25,50,50"]],
    )


class ImageSearchQuery(RegionQuery):
    exclude_self: bool = Field(default=False, description="leave out images whose file is byte for byte the one sent")


class SimilarToIds(ApiModel):
    """Images of the tenant to search with; they themselves are left out of the results."""

    model_config = ConfigDict(extra="forbid", **example({"imageIds": [ID]}))

    image_ids: list[ImageId] = Field(min_length=1, max_length=MAX_QUERY_IMAGES)


class TextQuery(ApiModel):
    model_config = ConfigDict(extra="forbid", **example({"text": "a harbour at dusk"}))

    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


class SearchResult(ApiModel):
    rank: int = Field(ge=1)
    image_id: str
    score: float = Field(description="cosine similarity, -1 to 1")
    match: MatchLabel | None = Field(
        description="what the score means with this model: the same picture, a changed copy of it, a look-alike, or "
        "nothing; null if the model has no thresholds"
    )
    thumbnail_url: str
    file_name: str
    tags: list[str]
    metadata: dict[str, Any]
    uploaded_at: AwareDatetime
    video: VideoMatch | None = Field(
        default=None, description="where the result is a video, found by this frame; each video is one result"
    )


class SearchResponse(ApiModel):
    model_config = example(
        {
            "results": [FOUND],
            "model": {"name": "deeplens-visual", "version": "1"},
            "timingsMs": {"standardise": 14.2, "embed": 21.7, "search": 6.3},
        }
    )

    results: list[SearchResult] = Field(description="best first")
    model: ModelVersion
    timings_ms: dict[str, float] = Field(description="milliseconds per step")
