"""Bodies and query strings of ``/v1/admin/dead-letters``."""

from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from deeplens.failures.model import DeadLetterState
from deeplens.http.schemas import AT, ID, PRINTABLE, ApiModel, example

LetterId = Annotated[str, StringConstraints(pattern=r"^dlq_[A-Za-z0-9_-]{1,64}$")]
Word = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=PRINTABLE)]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=PRINTABLE)]

LETTER = {
    "deadLetterId": "dlq_0f3a9b1c2d4e",
    "state": "open",
    "tenantId": "tenant_acme",
    "imageId": ID,
    "stage": "preprocess",
    "code": "TENANT_STORE_DENIED",
    "message": "access denied",
    "attempt": 6,
    "replays": 0,
    "failedAt": AT,
    "topic": "deeplens.images.uploaded",
    "replayable": True,
}
REPORT = {
    "dryRun": False,
    "replayed": 12,
    "refused": [{"deadLetterId": "dlq_0f3a9b1c2d4e", "reason": "its image is gone"}],
    "more": False,
}


class LetterFilters(BaseModel):
    """Query parameters that select letters; unknown ones are rejected, so that a typo is noticed."""

    model_config = ConfigDict(extra="forbid")

    tenant_id: Word | None = None
    code: Word | None = Field(default=None, description="error code, e.g. STAGE_FAILED")
    stage: Word | None = None
    state: DeadLetterState | None = None
    failed_from: AwareDatetime | None = Field(default=None, description=f"inclusive, e.g. {AT}")
    failed_before: AwareDatetime | None = Field(default=None, description="exclusive")


class LetterQuery(LetterFilters):
    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = Field(default=None, max_length=256, description="``nextCursor`` of the page before")


class LetterView(ApiModel):
    """An event that was given up. ``replayable`` is false where its record was not kept."""

    model_config = example(LETTER)

    dead_letter_id: str
    state: DeadLetterState
    tenant_id: str | None = None
    image_id: str | None = None
    stage: str | None = None
    code: str
    message: str
    attempt: int = Field(description="number of attempts")
    replays: int = Field(description="number of replays by operators")
    failed_at: AwareDatetime
    settled_at: AwareDatetime | None = Field(default=None, description="when it was replayed or discarded")
    reason: str | None = Field(default=None, description="why it was discarded")
    topic: str | None = None
    replayable: bool


class LetterDetail(LetterView):
    model_config = example(
        {**LETTER, "partition": 1, "offset": 4711, "eventId": "5b1f3a52", "event": {"imageId": ID}, "text": None}
    )

    partition: int | None = None
    offset: int | None = None
    event_id: str | None = None
    event: Any = Field(default=None, description="the record's value, where it is JSON")
    text: str | None = Field(default=None, description="the first 2,000 characters of a value that is not")


class LetterPage(ApiModel):
    model_config = example({"deadLetters": [LETTER], "nextCursor": None})

    dead_letters: list[LetterView] = Field(description="newest first")
    next_cursor: str | None = Field(default=None, description="pass as ``cursor`` with the same filters")


class LetterGroupView(ApiModel):
    code: str
    stage: str | None = None
    count: int
    oldest: AwareDatetime
    newest: AwareDatetime


class LetterGroups(ApiModel):
    model_config = example(
        {"groups": [{"code": "STAGE_FAILED", "stage": "extract", "count": 12, "oldest": AT, "newest": AT}]}
    )

    groups: list[LetterGroupView] = Field(description="the most frequent first, at most 200")


class ReplayOptions(ApiModel):
    model_config = ConfigDict(extra="forbid", **example({"dryRun": True}))

    dry_run: bool = Field(default=False, description="only report what would happen")
    force: bool = Field(
        default=False, description="also settled letters, and those that failed again after three replays"
    )


class ReplayRequest(ReplayOptions):
    """Replay letters by their ids, or the newest open ones that match every given filter."""

    model_config = ConfigDict(
        extra="forbid", **example({"code": "TENANT_STORE_DENIED", "tenantId": "tenant_acme", "dryRun": True})
    )

    ids: list[LetterId] = Field(default=[], max_length=500)
    tenant_id: Word | None = None
    code: Word | None = None
    stage: Word | None = None
    failed_from: AwareDatetime | None = None
    failed_before: AwareDatetime | None = None
    limit: int = Field(default=100, ge=1, le=500, description="maximum per request; repeat it while ``more`` is true")

    @model_validator(mode="after")
    def _selects_letters(self) -> Self:
        if not (self.ids or self.tenant_id or self.code or self.stage or self.failed_from or self.failed_before):
            raise ValueError("give ids or a filter")
        return self


class RefusedReplay(ApiModel):
    dead_letter_id: str
    reason: str


class ReplayReport(ApiModel):
    model_config = example(REPORT)

    dry_run: bool
    replayed: int = Field(description="letters whose records were sent again; in a dry run, would be sent")
    refused: list[RefusedReplay]
    more: bool = Field(description="whether further letters match")


class DiscardRequest(ApiModel):
    model_config = ConfigDict(extra="forbid", **example({"reason": "test data"}))

    reason: Reason
