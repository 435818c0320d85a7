"""What the API gives about what happened to images."""

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from deeplens.http.schemas import ID, ApiModel, example
from deeplens.images.schemas import STAGE, Status, TimelineStage

EVENT = {**STAGE, "eventId": "4711", "imageId": ID, "recordedAt": "2026-11-20T10:30:02Z"}
Stage = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_-]{0,39}$")]


class LogQueryParameters(BaseModel):
    model_config = ConfigDict(extra="forbid")

    image_id: Annotated[str, StringConstraints(pattern=r"^img_[a-z0-9]{1,40}$")] | None = None
    stage: Stage | None = Field(default=None, description="accept, preprocess, extract, index, complete, …")
    status: Status | None = Field(default=None, description="that the image had reached then")
    errors: bool = Field(default=False, description="only what went wrong, for good or for the time being")
    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = Field(default=None, max_length=256, description="``nextCursor`` of the page before")
    after: str | None = Field(
        default=None, max_length=256, description="``tailCursor``: what came since, the oldest first; not with cursor"
    )


class ImageEventView(TimelineStage):
    """A stage of an image: when, for how long, and why it failed or waits. ``eventId`` is unique in the tenant."""

    model_config = example(EVENT)

    event_id: str
    image_id: str
    recorded_at: AwareDatetime = Field(description="when it was noted, which gives the order; ``occurredAt`` is before")


class EventPage(ApiModel):
    model_config = example({"events": [EVENT], "nextCursor": None, "tailCursor": "WyIyMDI2LTExLTIwIiwiMCJd"})

    events: list[ImageEventView] = Field(description="newest first; with ``after`` oldest first")
    next_cursor: str | None = Field(
        default=None, description="older ones: pass as ``cursor`` with the same filters; null on the last page"
    )
    tail_cursor: str = Field(description="pass as ``after`` later: no event will have been missed")


class ImageTimeline(ApiModel):
    model_config = example({"imageId": ID, "events": [STAGE]})

    image_id: str
    events: list[TimelineStage] = Field(description="oldest first")
