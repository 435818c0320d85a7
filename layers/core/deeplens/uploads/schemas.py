"""HTTP bodies of direct uploads."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from deeplens.http.schemas import AT, ID, ApiModel, example
from deeplens.images.schemas import Metadata, Status, Tags

DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
UploadState = Literal["open", "ingested", "failed", "aborted", "expired"]
PartNumber = Annotated[int, Field(ge=1, le=10_000)]


class NewUpload(ApiModel):
    """A file that will be written to the store directly."""

    model_config = example({"fileName": "harbour.tif", "sizeBytes": 31457280, "sha256": DIGEST, "tags": ["sea"]})

    file_name: str = Field(max_length=1024)
    size_bytes: int = Field(ge=1, le=1 << 53, description="the file may not be larger")
    sha256: Sha256 | None = Field(default=None, description="checked when the file has arrived")
    tags: Tags = Field(default_factory=list)
    metadata: Metadata = Field(default_factory=dict)


class UploadForm(ApiModel):
    """POST ``fields`` and then the file, as ``file``, to ``url`` as multipart/form-data."""

    url: str
    fields: dict[str, str]
    expires_at: AwareDatetime


class MultipartPlan(ApiModel):
    """Send ``parts`` parts, each of ``partBytes`` but for the last one, then complete the upload."""

    part_bytes: int
    parts: int


class UploadFailure(ApiModel):
    code: str
    message: str
    retryable: bool


class UploadLinks(ApiModel):
    this: str = Field(alias="self")
    image: str | None = Field(default=None, description="set once the file was ingested as an image")
    video: str | None = Field(default=None, description="set once the file was ingested as a video")


class UploadDetail(ApiModel):
    """An upload. While it is open, ``multipart``, or ``form`` when it is begun, says how to send the file."""

    upload_id: str
    status: UploadState
    file_name: str
    size_bytes: int
    sha256: str | None = None
    created_at: AwareDatetime
    expires_at: AwareDatetime = Field(description="the upload expires unless the file has arrived by then")
    image_id: str | None = Field(default=None, description="set once the file was ingested as an image")
    video_id: str | None = Field(default=None, description="set once the file was ingested as a video")
    error: UploadFailure | None = Field(default=None, description="why the upload, or its last attempt, failed")
    form: UploadForm | None = None
    multipart: MultipartPlan | None = None
    links: UploadLinks


class WantedParts(ApiModel):
    model_config = example({"partNumbers": [1, 2]})

    part_numbers: list[PartNumber] = Field(min_length=1, max_length=100)


class PartAddress(ApiModel):
    """PUT exactly ``sizeBytes`` bytes to ``url``."""

    part_number: int
    url: str
    size_bytes: int
    expires_at: AwareDatetime


class PartAddresses(ApiModel):
    parts: list[PartAddress]


class SentPart(ApiModel):
    part_number: int
    size_bytes: int


class SentParts(ApiModel):
    """The parts that have arrived; ``missing`` lists the others, and those of a wrong size."""

    parts: list[SentPart]
    missing: list[int]


class Digests(ApiModel):
    model_config = example({"sha256": [DIGEST]})

    sha256: list[Sha256] = Field(min_length=1, max_length=1000)


class KnownFile(ApiModel):
    model_config = example({"sha256": DIGEST, "imageId": ID, "status": "completed", "uploadedAt": AT})

    sha256: str
    image_id: str
    status: Status
    uploaded_at: AwareDatetime


class CheckedDigests(ApiModel):
    """``known``: there is an image of exactly these bytes; ``new``: there is none."""

    known: list[KnownFile]
    new: list[str]
