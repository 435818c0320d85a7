"""HTTP bodies of tenants."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, Field, SecretStr, StrictInt, StringConstraints
from pydantic_core import from_json, to_json

from deeplens.http.schemas import AT, ApiModel, ModelName, ModelVersion, Name, Request, TenantId, Version, example
from deeplens.tenants.model import TenantStatus

MAX_SETTINGS_BYTES = 16 * 1024
SETTINGS_LIMIT = f"at most {MAX_SETTINGS_BYTES} bytes of JSON in UTF-8, nested at most 200 deep"


def bounded(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings. Raises ``ValueError`` beyond the limit of bytes, and where they are nested too deeply."""
    try:
        from_json(body := to_json(settings))
    except ValueError:
        raise ValueError(f"must be {SETTINGS_LIMIT}") from None
    if len(body) > MAX_SETTINGS_BYTES:
        raise ValueError(f"must be {SETTINGS_LIMIT}, not {len(body)} bytes")
    return settings


TenantSettings = Annotated[dict[str, Any], Field(max_length=50), AfterValidator(bounded)]


class VideoSettingsView(ApiModel):
    """How a tenant's videos become frames; counts for videos that are split from then on."""

    model_config = example({"frameEverySeconds": 5, "maxFrames": 1000, "inDuplicateReview": False})

    frame_every_seconds: float | None = Field(
        default=None, ge=0.2, le=3600, description="longest time without a frame; scene cuts give one in any case"
    )
    max_frames: int | None = Field(default=None, ge=1, le=5000, description="of one video")
    in_duplicate_review: bool | None = Field(default=None, description="whether frames show up in duplicate review")


TENANT = {
    "tenantId": "tenant_acme",
    "name": "Acme",
    "status": "active",
    "statusSince": AT,
    "createdAt": AT,
    "model": {"name": "deeplens-visual", "version": "2"},
    "placement": {"storageUri": "s3://tenant-acme", "ownDatabaseServer": False},
    "limits": {"maxImages": 100000},
    "settings": {"region": "emea"},
    "video": {"frameEverySeconds": 5, "maxFrames": 1000, "inDuplicateReview": False},
    "progress": {"database": AT, "store": AT, "collection": AT},
}


def _postgres_url(url: SecretStr) -> SecretStr:
    # A pattern cannot be a constraint of SecretStr.
    if not url.get_secret_value().startswith(("postgresql://", "postgres://")):
        raise ValueError("must begin with postgresql://")
    return url


class PlacementRequest(Request):
    """Where the tenant's data shall live; what is left out is the platform's own. It cannot be changed later."""

    storage: Literal["s3", "minio", "nfs"] | None = None
    database_server: Annotated[SecretStr, AfterValidator(_postgres_url)] | None = Field(
        default=None, description="URL of a PostgreSQL server with credentials that may create databases; never shown"
    )
    qdrant_url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$", max_length=500)] | None = None


class ModelChoice(Request):
    name: ModelName
    version: Version


Limit = Annotated[StrictInt, Field(ge=0, lt=1 << 63)]


class LimitsView(Request):
    """A tenant's own limits: null leaves one to the platform's default, 0 lifts it."""

    model_config = example({"maxImages": 100000, "requestsPerMinute": 600})

    max_images: Limit | None = None
    max_bytes: Limit | None = Field(default=None, description="of the originals")
    requests_per_minute: Limit | None = None
    max_file_bytes: Limit | None = None


class TenantRequest(Request):
    model_config = example({"tenantId": "tenant_acme", "name": "Acme"})

    tenant_id: TenantId
    name: Name
    model: ModelChoice | None = Field(default=None, description="a served model; the built-in one if absent")
    placement: PlacementRequest = PlacementRequest()
    limits: LimitsView = LimitsView()
    settings: TenantSettings = Field(default={}, description=f"kept for its own programs; {SETTINGS_LIMIT}")


class TenantChange(Request):
    model_config = example({"name": "Acme Ltd"})

    name: Name | None = None
    settings: TenantSettings | None = Field(default=None, description=f"replaces all settings; {SETTINGS_LIMIT}")
    video: VideoSettingsView | None = Field(default=None, description="what is absent or null stays")


class Placed(ApiModel):
    storage_uri: str
    own_database_server: bool
    qdrant_url: str | None = None


class TenantView(ApiModel):
    """A tenant. A deleted one's ``progress`` is its receipt: what was removed, and when all was gone."""

    model_config = example(TENANT)

    tenant_id: str
    name: str
    status: TenantStatus
    status_since: AwareDatetime
    created_at: AwareDatetime
    model: ModelVersion
    placement: Placed
    limits: LimitsView
    settings: dict[str, Any]
    video: VideoSettingsView
    progress: dict[str, Any] = Field(description="steps of creation or deletion that are done")


class TenantPage(ApiModel):
    model_config = example({"tenants": [TENANT], "next": None})

    tenants: list[TenantView]
    next: str | None = Field(default=None, description="send as ``after`` for the next page")
