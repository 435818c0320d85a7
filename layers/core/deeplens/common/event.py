"""The base of every event, and the types of its fields."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
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
    """The base of JSON objects in events: camelCase there, snake_case here; immutable; unknown fields are ignored."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore", allow_inf_nan=False
    )


class Event(Wire):
    """A record's value. ``event_id`` is a header; if a stage sets none, it is derived from the source record.

    ``traceparent`` is that of an event that was kept before it is published, e.g. until the tenant's window has room.
    """

    event_id: str = Field(default="", exclude=True)
    traceparent: str = Field(default="", exclude=True)

    @property
    def key(self) -> str:
        """The Kafka key: all events of one image share a partition."""
        return ":".join(filter(None, (getattr(self, "tenant_id", None), getattr(self, "image_id", None))))

    def to_wire(self) -> bytes:
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()


class TenantEvent(Event):
    """An event about a tenant: all events of one tenant share a partition."""

    tenant_id: TenantId

    @property
    def key(self) -> str:
        return self.tenant_id
