"""Base classes and shared types of HTTP bodies: camelCase in JSON bodies, snake_case in query strings."""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StringConstraints
from pydantic.alias_generators import to_camel

MAX_TAGS, MAX_METADATA_KEYS = 50, 50
PRINTABLE = r"^[^\x00-\x1f\x7f]+$"
Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64, pattern=PRINTABLE)]
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=PRINTABLE)]
MetadataText = Annotated[str, StringConstraints(strict=True, max_length=1024, pattern=r"^[^\x00]*$")]
MetadataNumber = Annotated[StrictInt, Field(ge=-(2**53), le=2**53)] | Annotated[StrictFloat, Field(allow_inf_nan=False)]
MetadataValue = StrictBool | MetadataNumber | MetadataText
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=PRINTABLE)]
TenantId = Annotated[str, StringConstraints(pattern=r"^tenant_[a-z0-9_]{0,39}[a-z0-9]$")]
ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Version = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")]
Day = Annotated[date, Field(ge=date(2000, 1, 1))]
OAUTH = "oauth2"

ID = "img_01kd1v8q4w2m6n9r5t7x3z0abc"
UPLOAD_ID = ID.replace("img_", "upl_")
VIDEO_ID = ID.replace("img_", "vid_")
AT = "2026-11-20T10:30:00Z"
LINKS = {
    "self": f"/v1/images/{ID}",
    "content": f"/v1/images/{ID}/content",
    "thumbnails": {"small": f"/v1/images/{ID}/thumbnails/small", "medium": f"/v1/images/{ID}/thumbnails/medium"},
    "similar": f"/v1/images/{ID}/similar",
}
FILE = {
    "imageId": ID,
    "fileName": "harbour.jpg",
    "mimeType": "image/jpeg",
    "sizeBytes": 2048576,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "uploadedAt": AT,
}


def example(*values: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": list(values)})


class ApiModel(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, allow_inf_nan=False, protected_namespaces=()
    )


def view[M: BaseModel](schema: type[M], record: object, **fields: Any) -> M:
    """A body with ``fields``, and with the record's attributes of the same names as the schema's other fields."""
    names = schema.model_fields.keys() - fields.keys()
    return schema(**{name: getattr(record, name) for name in names if hasattr(record, name)}, **fields)


class ModelVersion(ApiModel):
    name: str
    version: str


class Health(ApiModel):
    model_config = example({"status": "ok"})

    status: Literal["ok"] = "ok"


class Fault(ApiModel):
    """One member of the request that is wrong; ``pointer`` is a JSON pointer into the named place."""

    place: Literal["body", "query", "path", "header", "cookie"] = Field(alias="in")
    pointer: str
    detail: str


class Problem(ApiModel):
    """RFC 9457. ``type`` is stable and names the problem; ``requestId`` finds the request in the logs."""

    model_config = example(
        {
            "type": "/problems/image-not-found",
            "title": "Image not found",
            "status": 404,
            "detail": f"There is no image {ID}.",
            "instance": f"/v1/images/{ID}",
            "requestId": "0b7c5f0d2f6e4a0f9a55a3f6f3f0c7b1",
        }
    )

    type: str
    title: str
    status: int
    detail: str | None = None
    instance: str | None = None
    request_id: str | None = None
    errors: list[Fault] | None = None


class Request(ApiModel):
    model_config = ConfigDict(extra="forbid")


class PartHealth(ApiModel):
    part: str
    healthy: bool
    milliseconds: float
    reason: str | None = None


class PlatformHealth(ApiModel):
    model_config = example({"healthy": True, "parts": [{"part": "database", "healthy": True, "milliseconds": 1.2}]})

    healthy: bool
    parts: list[PartHealth]
