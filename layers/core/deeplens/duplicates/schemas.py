"""Bodies and query strings of the routes about duplicates."""

from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from deeplens.duplicates.model import Decision, DuplicateVerdict, MergeState
from deeplens.embedding.model import MatchLabel
from deeplens.http.schemas import AT, ID, ApiModel, Request, example
from deeplens.images.schemas import SUMMARY, ImageSummary

ImageId = Annotated[str, StringConstraints(pattern=r"^img_[a-z0-9]{1,40}$")]
MAX_DECIDED = 50
OTHER_ID = "img_01kd1v8q4w2m6n9r5t7x3z0abd"
GROUP_ID, MERGE_ID = "dup_5b1f0a7c9d3e4f60a1b2c3d4e5f60718", "mrg_01kd1v8q4w2m6n9r5t7x3z0abc"
EVIDENCE = {
    "sameBytes": False,
    "score": 0.9984,
    "hashDistance": 2,
    "aspectRatio": 1.0,
    "pixelRatio": 0.25,
}
PAIR = {"imageIds": [ID, OTHER_ID], "verdict": "re-encoded", **EVIDENCE, "foundAt": AT}
GROUP = {"duplicateId": GROUP_ID, "createdAt": AT, "size": 2, "images": [SUMMARY], "pairs": [PAIR]}
MERGE = {
    "mergeId": MERGE_ID,
    "duplicateId": GROUP_ID,
    "kept": ID,
    "merged": [OTHER_ID],
    "mergedAt": AT,
    "undoUntil": "2026-11-27T10:30:00Z",
    "by": "key:0f3a9b1c2d4e",
    "state": "merged",
}


class PairEvidence(ApiModel):
    """Evidence about a pair of images, and the decision about it; null where it is not known."""

    same_bytes: bool
    score: float | None = Field(default=None, description="cosine of their vectors; null below `similar`")
    hash_distance: int | None = Field(default=None, description="bits of 64 in which their pHashes differ")
    aspect_ratio: float | None = Field(default=None, description="the wider by the narrower; 1 for equal ones")
    pixel_ratio: float | None = Field(default=None, description="pixels of the smaller by those of the larger")
    image_ids: list[str] = Field(description="the earlier one first")
    verdict: DuplicateVerdict | None = Field(default=None, description="null for a pair that is not found a duplicate")
    decision: Decision | None = None
    decided_at: AwareDatetime | None = None
    decided_by: str | None = None


class PairView(PairEvidence):
    """``verdict`` is null for a pair that was decided but not found."""

    model_config = example(PAIR)

    found_at: AwareDatetime


class DuplicateGroup(ApiModel):
    """Images that are duplicates of one another, directly or through others. The id stays when images are added."""

    model_config = example(GROUP)

    duplicate_id: str
    created_at: AwareDatetime
    size: int
    images: list[ImageSummary] = Field(description="the oldest first, 100 at most")
    pairs: list[PairView] = Field(description="found or decided among these images")


class DuplicatePage(ApiModel):
    model_config = example({"groups": [GROUP], "nextCursor": "eyJ2IjoxfQ"})

    groups: list[DuplicateGroup] = Field(description="newest first")
    next_cursor: str | None = Field(default=None, description="pass as ``cursor``; null on the last page")


class PageQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=20, ge=1, le=100)
    cursor: str | None = Field(default=None, max_length=256, description="``nextCursor`` of the page before")


class ImageComparison(PairEvidence):
    """Two images as they are now, and the decision about them. ``verdict`` is null for images that are no duplicates,
    however similar."""

    model_config = example({**EVIDENCE, "imageIds": [ID, OTHER_ID], "verdict": "re-encoded", "match": "exact"})

    match: MatchLabel | None = Field(default=None, description="the meaning of the score with this model")


def once_each(ids: list[str]) -> list[str]:
    if len(set(ids)) < len(ids):
        raise ValueError("name each image at most once")
    return ids


class DecisionRequest(Request):
    """A decision on every pair among ``imageIds``, or among all images of the group."""

    model_config = example({"decision": "not-duplicate", "imageIds": [ID, OTHER_ID]})

    decision: Decision
    image_ids: Annotated[list[ImageId], AfterValidator(once_each)] | None = Field(
        default=None, min_length=2, max_length=MAX_DECIDED, json_schema_extra={"uniqueItems": True}
    )


class Decided(ApiModel):
    model_config = example({"decision": "not-duplicate", "imageIds": [ID, OTHER_ID]})

    decision: Decision
    image_ids: list[str]


class MergeRequest(Request):
    """The image to keep, and the images of the group to merge into it: all others if absent."""

    model_config = example({"keep": ID})

    keep: ImageId
    image_ids: list[ImageId] | None = Field(default=None, min_length=1, max_length=100)


class MergeView(ApiModel):
    """``settled``: the merged images are removed for good; their ids still redirect to ``kept``."""

    model_config = example(MERGE)

    merge_id: str
    duplicate_id: str | None = None
    kept: str
    merged: list[str]
    merged_at: AwareDatetime
    undo_until: AwareDatetime
    by: str = Field(description="who merged; ``policy`` for the tenant's policy")
    state: MergeState


class MergePage(ApiModel):
    model_config = example({"merges": [MERGE], "nextCursor": None})

    merges: list[MergeView] = Field(description="newest first")
    next_cursor: str | None = None


class PolicyView(Request):
    """A tenant's policy about duplicates."""

    model_config = example({"action": "auto-merge-exact", "undoSeconds": 604800})

    action: Literal["report", "reject", "auto-merge-exact"] = Field(
        description="list duplicates; also reject uploads of the same bytes; or also merge copies of the same bytes",
    )
    undo_seconds: int = Field(default=7 * 86_400, ge=0, le=90 * 86_400, description="how long a merge can be undone")
