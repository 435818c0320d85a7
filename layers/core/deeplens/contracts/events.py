"""The payload of every topic.

Fields of the published contract are required for the golden variant; fields added since are optional, so that
events written by an older release still parse. ``to_wire`` leaves out what is absent.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

TenantId = Annotated[str, StringConstraints(pattern=r"^tenant_[a-z0-9_]{1,40}$")]
ImageId = Annotated[str, StringConstraints(pattern=r"^img_[a-z0-9]{1,40}$")]
VideoId = Annotated[str, StringConstraints(pattern=r"^vid_[a-z0-9]{1,40}$")]
DeadLetterId = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,100}$")]
WhatsAppId = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,300}$")]
StorageUri = Annotated[str, StringConstraints(pattern=r"^(s3|minio|nfs|azure)://[^/]+/.+$", max_length=2048)]
MetricName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9._-]{0,63}$")]
Quantity = Annotated[float, Field(ge=0, le=1e18)]
Subject = Literal["image", "video", "message", "tenant", "record"]


class Wire(BaseModel):
    """Any object on the wire: camelCase there, snake_case here, immutable, tolerant of newer fields."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore", allow_inf_nan=False
    )


class Event(Wire):
    """A record's value. ``event_id`` travels as a header; what a stage gives none follows from the record before it."""

    event_id: str = Field(default="", exclude=True)

    @property
    def key(self) -> str:
        """The Kafka key: all events of one image share a partition."""
        return ":".join(filter(None, (getattr(self, "tenant_id", None), getattr(self, "image_id", None))))

    def to_wire(self) -> bytes:
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()


class ImageEvent(Event):
    """An event about one image of one tenant.

    ``generation`` rises with every retry, replay and re-upload; absent means 1.
    """

    image_id: ImageId
    tenant_id: TenantId
    generation: int | None = Field(default=None, ge=1)

    @property
    def effective_generation(self) -> int:
        return self.generation or 1

    @property
    def embedding_model(self) -> tuple[str | None, str | None]:
        """Name and version of the model that the event is about; None where it is about all or says nothing."""
        return None, None


class ImageUploaded(ImageEvent):
    file_name: str
    storage_path: StorageUri
    mime_type: str
    size_bytes: int = Field(ge=0)
    uploaded_at: AwareDatetime
    metadata: dict[str, Any] = {}
    video_id: VideoId | None = None
    frame_offset_seconds: float | None = None


class VideoUploaded(Event):
    video_id: VideoId
    tenant_id: TenantId
    file_name: str
    storage_path: StorageUri
    mime_type: str
    size_bytes: int = Field(ge=0)
    duration: float = Field(ge=0, description="seconds; 0 before the file has been looked into")
    uploaded_at: AwareDatetime
    metadata: dict[str, Any] = {}
    segment: int | None = Field(default=None, ge=0, description="the part that it is about; absent: how to split it")

    @property
    def key(self) -> str:
        """Parts of one video spread over the partitions."""
        return ":".join([self.tenant_id, self.video_id, *([] if self.segment is None else [str(self.segment)])])


class ExtractionParams(Wire):
    model: str
    dimensions: int = Field(gt=0)
    normalize: bool = True
    model_version: str | None = None


class StageTimes(Wire):
    """Seconds each earlier stage worked on this image; travels with it so that the last stage can report them."""

    accepted_at: AwareDatetime | None = None
    preprocessing_time: float | None = None
    extraction_time: float | None = None
    indexing_time: float | None = None


class FeatureExtractionRequested(ImageEvent):
    preprocessed_path: StorageUri
    extraction_params: ExtractionParams
    requested_at: AwareDatetime
    times: StageTimes | None = None

    @property
    def embedding_model(self) -> tuple[str | None, str | None]:
        return self.extraction_params.model, self.extraction_params.model_version


class VectorIndexingRequested(ImageEvent):
    """``vectors`` is one float32 embedding, shape (dimensions,)."""

    vectors: list[float] = Field(min_length=1)
    dimensions: int = Field(gt=0)
    metadata: dict[str, Any] = {}
    extracted_at: AwareDatetime
    model: str | None = None
    model_version: str | None = None
    times: StageTimes | None = None

    @property
    def embedding_model(self) -> tuple[str | None, str | None]:
        return self.model, self.model_version


class ProcessingMetrics(Wire):
    """Seconds per stage."""

    preprocessing_time: float | None = None
    extraction_time: float | None = None
    indexing_time: float | None = None


class ProcessingCompleted(ImageEvent):
    status: Literal["completed"] = "completed"
    processing_time: float = Field(ge=0, description="seconds from acceptance to searchable")
    metrics: ProcessingMetrics = ProcessingMetrics()
    completed_at: AwareDatetime
    model: str | None = None
    model_version: str | None = None


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


class ImageMaintenance(Event):
    maintenance_type: str
    image_id: ImageId | None = None
    tenant_id: TenantId
    actions: list[str] = []
    requested_at: AwareDatetime
    subject: Subject | None = None
    job: str | None = Field(default=None, description="what a slice of longer work belongs to, e.g. a rollout")
    cursor: str | None = Field(default=None, description="where that slice begins")
    keys: list[str] | None = Field(default=None, description="of objects in the store that job names")
    video_id: VideoId | None = None

    @model_validator(mode="after")
    def _an_image_has_its_id(self) -> Self:
        if (self.subject or "image") == "image" and not self.image_id:
            raise ValueError("maintenance of an image names imageId")
        return self


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


class DuplicateMatch(Wire):
    """The earlier image of a pair; ``score`` is the cosine, 1 for the same bytes."""

    image_id: ImageId
    score: float
    verdict: str
    pair_id: str | None = None
    hash_distance: int | None = Field(default=None, description="bits of 64 in which the pHashes differ")
    aspect_ratio: float | None = None
    pixel_ratio: float | None = None


class DuplicatesFound(Event):
    """The later image of a pair, and the earlier one."""

    tenant_id: TenantId
    image_id: ImageId
    duplicates: list[DuplicateMatch]
    found_at: AwareDatetime

    @property
    def key(self) -> str:
        return self.tenant_id


class TenantUsage(Event):
    """``quantity`` of ``unit`` used by a tenant, e.g. 1 ``images.completed``.

    ``quantities`` are of further metrics that are counted with the same event, by metric.
    """

    tenant_id: TenantId
    metric: MetricName
    quantity: Quantity
    unit: str
    occurred_at: AwareDatetime
    image_id: ImageId | None = None
    quantities: dict[MetricName, Quantity] | None = None

    @property
    def key(self) -> str:
        return self.tenant_id


class TenantNotification(Event):
    """Something that a tenant's webhooks are told. With ``delivery_id`` it asks for another try of that delivery."""

    tenant_id: TenantId
    type: str
    occurred_at: AwareDatetime
    image_id: ImageId | None = None
    video_id: VideoId | None = None
    details: dict[str, Any] = {}
    delivery_id: str | None = None

    @property
    def key(self) -> str:
        return self.tenant_id


class WhatsAppMessage(Event):
    """A message of a chat, or with ``from_me`` a reply of ours, by its own id, that is to be sent."""

    message_id: WhatsAppId
    chat_jid: WhatsAppId
    from_me: bool
    message_type: Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,40}$")]
    content: str | None = None
    timestamp: int = Field(ge=0, le=253_402_300_799, description="seconds since the epoch")
    metadata: dict[str, Any] = {}

    @property
    def key(self) -> str:
        return self.chat_jid
