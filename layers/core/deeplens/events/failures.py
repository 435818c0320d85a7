"""Failed records and dead letters."""

from typing import Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from deeplens.common.event import DeadLetterId, Event, ImageId, Subject, TenantId, VideoId, Wire


class Failure(Wire):
    """``stack_trace`` holds the exception's type and location, never more."""

    code: str
    message: str
    stack_trace: str | None = None
    retryable: bool


class SourceRecord(Wire):
    """The record that failed, whole enough to be sent again. ``key`` and ``value`` are base64.

    ``replays`` counts how often an operator has sent it again, so that a record that always fails is not sent for ever.
    ``stage`` is which of its topic's consumers failed, where there are several: the others are not to work it again.
    """

    topic: str
    partition: int
    offset: int
    key: str | None = None
    value: str | None = None
    event_id: str | None = None
    traceparent: str | None = None
    replays: int | None = Field(default=None, ge=1)
    stage: str | None = None


class ProcessingFailed(Event):
    image_id: ImageId | None = None
    tenant_id: TenantId | None = None
    status: Literal["failed"] = "failed"
    error: Failure
    failed_at: AwareDatetime
    attempt_number: int = Field(ge=1)
    subject: Subject | None = None
    stage: str | None = None
    source: SourceRecord | None = None
    generation: int | None = Field(default=None, ge=1)
    model: str | None = None
    model_version: str | None = None
    video_id: VideoId | None = None

    @model_validator(mode="after")
    def _an_image_has_its_ids(self) -> Self:
        if (self.subject or "image") == "image" and not (self.image_id and self.tenant_id):
            raise ValueError("a failed image names imageId and tenantId")
        return self

    @property
    def key(self) -> str:
        return super().key or (f"{self.source.topic}-{self.source.partition}" if self.source else "record")


class DeadLetter(Event):
    """An event that will not be tried again by itself, with all that a replay needs."""

    dead_letter_id: DeadLetterId
    tenant_id: TenantId | None = None
    image_id: ImageId | None = None
    subject: Subject = "image"
    stage: str | None = None
    error: Failure
    attempt_number: int = Field(ge=1)
    failed_at: AwareDatetime
    source: SourceRecord | None = None
    video_id: VideoId | None = None

    @property
    def key(self) -> str:
        return super().key or self.dead_letter_id
