"""Failed records, dead letters, and retries in the delay queue."""

from base64 import b64decode
from binascii import Error as NotBase64
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from deeplens.common.event import DeadLetterId, Event, ImageId, Subject, TenantId, VideoId, Wire


class Failure(Wire):
    """``stack_trace`` holds the exception's type and location, never more."""

    code: str
    message: str
    stack_trace: str | None = None
    retryable: bool


class SourceRecord(Wire):
    """The failed record, complete so that it can be sent again. ``key`` and ``value`` are base64.

    ``replays`` counts how often an operator sent it again, so that this ends. ``stage`` is the consumer that failed, if
    its topic has several: the others do not process it again.
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
    """An event that is not retried any more, with all that a replay needs."""

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


def _whole(record: SourceRecord) -> SourceRecord:
    """Raises ``ValueError`` for a record whose value was not kept, or is not base64."""
    if record.value is None:
        raise ValueError("the record's value was not kept")
    try:
        b64decode(record.value, validate=True)
        b64decode(record.key or "", validate=True)
    except NotBase64 as error:
        raise ValueError(f"not base64: {error}") from None
    return record


class Retry(Event):
    """A failed record, to be sent to its topic again unchanged, as attempt ``attempt_number``.

    Tenant, image and stage are for operators who find it in a redrive queue.
    """

    record: Annotated[SourceRecord, AfterValidator(_whole)]
    attempt_number: int = Field(ge=1)
    due: AwareDatetime
    tenant_id: TenantId | None = None
    image_id: ImageId | None = None
    stage: str | None = None
