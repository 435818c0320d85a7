"""What the Admin API takes and gives about tenants, their people, keys and clients."""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, ConfigDict, Field, SecretStr, StrictInt, StringConstraints

from deeplens.contracts.admin import ModelName, Version
from deeplens.contracts.api import PRINTABLE, ApiModel, ModelVersion, example
from deeplens.contracts.videos import VideoSettingsView

TenantId = Annotated[str, StringConstraints(pattern=r"^tenant_[a-z0-9_]{0,39}[a-z0-9]$")]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=PRINTABLE)]
Email = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, to_lower=True, max_length=320, pattern=r"^[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+$"
    ),
]
Password = Annotated[SecretStr, Field(min_length=8, max_length=256)]
Role = Literal["platform_admin", "tenant_admin", "editor", "viewer"]
ApiScope = Literal["deeplens.api.read", "deeplens.api.write", "deeplens.api.admin"]
ClientScope = Literal["openid", "profile", "offline_access"] | ApiScope
Grant = Literal["authorization_code", "client_credentials", "refresh_token"]
RedirectUri = Annotated[
    str,
    StringConstraints(
        max_length=2000,
        pattern=r"^(https://|http://(localhost|127\.0\.0\.1|\[::1\])[:/]|[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+:/)[^\s#*]*$",
    ),
]
Status = Literal["provisioning", "active", "suspended", "deleting", "deleted"]

AT = "2026-11-20T10:30:00Z"
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
USER = {
    "userId": "usr_01kd1v8q4w2m6n9r5t7x3z0abc",
    "email": "ada@example.com",
    "name": "Ada",
    "roles": ["editor"],
    "status": "active",
    "createdAt": AT,
}
KEY = {
    "prefix": "0f3a9b1c2d4e",
    "name": "importer",
    "scopes": ["deeplens.api.write"],
    "createdAt": AT,
    "expiresAt": "2027-11-20T10:30:00Z",
    "lastUsedAt": AT,
}
CLIENT = {
    "clientId": "cli_01kd1v8q4w2m6n9r5t7x3z0abc",
    "name": "Web console",
    "confidential": True,
    "grants": ["authorization_code", "refresh_token"],
    "scopes": ["openid", "deeplens.api.read"],
    "redirectUris": ["https://console.example.com/callback"],
    "postLogoutRedirectUris": [],
    "needsConsent": True,
}
ENTRY = {
    "id": 42,
    "at": AT,
    "actor": "usr_01kd1v8q4w2m6n9r5t7x3z0abc",
    "tenantId": "tenant_acme",
    "action": "POST /v1/admin/tenants/{tenant_id}/suspend",
    "target": "/v1/admin/tenants/tenant_acme/suspend",
    "outcome": "done",
    "requestId": "c7ad6b70",
}


class Request(ApiModel):
    model_config = ConfigDict(extra="forbid")


class PlacementRequest(Request):
    """Where the tenant's data shall live; what is left out is the platform's own. It cannot be changed later."""

    storage: Literal["s3", "minio", "nfs"] | None = None
    database_server: Annotated[SecretStr, Field(pattern=r"^postgres(ql)?://")] | None = Field(
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
    settings: dict[str, Any] = Field(default={}, max_length=50, description="kept for the tenant's own programs")


class TenantChange(Request):
    model_config = example({"name": "Acme Ltd"})

    name: Name | None = None
    settings: Annotated[dict[str, Any], Field(max_length=50)] | None = Field(
        default=None, description="replaces all settings"
    )
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
    status: Status
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


class UserRequest(Request):
    model_config = example(
        {"email": "ada@example.com", "name": "Ada", "roles": ["editor"], "password": "correct horse"}
    )

    email: Email
    name: Name
    roles: list[Role] = Field(min_length=1, max_length=4)
    password: Password


class UserChange(Request):
    model_config = example({"roles": ["viewer"]})

    name: Name | None = None
    roles: Annotated[list[Role], Field(min_length=1, max_length=4)] | None = None
    password: Password | None = None
    status: Literal["active", "disabled"] | None = Field(default=None, description="a disabled user is signed out")


class UserView(ApiModel):
    model_config = example(USER)

    user_id: str
    email: str
    name: str
    roles: list[str]
    status: Literal["active", "disabled"]
    created_at: AwareDatetime


class Users(ApiModel):
    model_config = example({"users": [USER]})

    users: list[UserView]


class KeyRequest(Request):
    model_config = example({"name": "importer", "scopes": ["deeplens.api.write"]})

    name: Name
    scopes: list[ApiScope] = Field(default=["deeplens.api.read", "deeplens.api.write"], min_length=1, max_length=3)
    expires_at: AwareDatetime | None = None


class RotationRequest(Request):
    model_config = example({"overlapHours": 24})

    overlap_hours: float = Field(default=24, ge=0, le=24 * 30, description="how long the old key goes on working")


class KeyView(ApiModel):
    model_config = example(KEY)

    prefix: str
    name: str
    scopes: list[str]
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None
    last_used_at: AwareDatetime | None = Field(default=None, description="to the minute")


class NewKeyView(KeyView):
    model_config = example({**KEY, "key": "dl_0f3a9b1c2d4e_…"})

    key: str = Field(description="shown this once")


class Keys(ApiModel):
    model_config = example({"keys": [KEY]})

    keys: list[KeyView]


class ClientRequest(Request):
    model_config = example({"name": "Importer", "grants": ["client_credentials"], "scopes": ["deeplens.api.write"]})

    name: Name
    grants: list[Grant] = Field(min_length=1, max_length=3)
    scopes: list[ClientScope] = Field(min_length=1, max_length=6)
    confidential: bool = Field(default=True, description="with a secret; a browser or phone app has none")
    redirect_uris: list[RedirectUri] = Field(default=[], max_length=20, description="compared as they are")
    post_logout_redirect_uris: list[RedirectUri] = Field(default=[], max_length=20)
    needs_consent: bool = True


class ClientView(ApiModel):
    model_config = example(CLIENT)

    client_id: str
    name: str
    confidential: bool
    grants: list[str]
    scopes: list[str]
    redirect_uris: list[str]
    post_logout_redirect_uris: list[str]
    needs_consent: bool


class NewClientView(ClientView):
    model_config = example({**CLIENT, "clientSecret": "…"})

    client_secret: str | None = Field(default=None, description="shown this once; null of a public client")


class Clients(ApiModel):
    model_config = example({"clients": [CLIENT]})

    clients: list[ClientView]


class AuditView(ApiModel):
    """One entry of the append-only log. Every write has two: ``begun``, and how it ended."""

    model_config = example(ENTRY)

    id: int
    at: AwareDatetime
    actor: str = Field(description="a user's id, a client's, or key: and an API key's prefix")
    client_id: str | None = None
    tenant_id: str | None = None
    action: str
    target: str
    outcome: str = Field(description="begun, done, or the code of the problem")
    detail: Any = Field(default=None, description="the request's body without secrets")
    request_id: str


class AuditPage(ApiModel):
    model_config = example({"entries": [ENTRY], "next": None})

    entries: list[AuditView]
    next: int | None = Field(default=None, description="send as ``before`` for the next page")


class PartHealth(ApiModel):
    part: str
    healthy: bool
    milliseconds: float
    reason: str | None = None


class PlatformHealth(ApiModel):
    model_config = example({"healthy": True, "parts": [{"part": "database", "healthy": True, "milliseconds": 1.2}]})

    healthy: bool
    parts: list[PartHealth]
