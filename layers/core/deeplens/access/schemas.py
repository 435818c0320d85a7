"""API keys and entries of the audit log, as adapters read them and HTTP bodies show them."""

from typing import Any, Literal

from pydantic import AwareDatetime, Field

from deeplens.http.schemas import AT, ApiModel, Name, Request, example

NEXT: Any = Field(default=None, description="send as ``after`` for the next page")
ApiScope = Literal["deeplens.api.read", "deeplens.api.write", "deeplens.api.admin"]

KEY = {
    "prefix": "0f3a9b1c2d4e",
    "name": "importer",
    "scopes": ["deeplens.api.write"],
    "createdAt": AT,
    "expiresAt": "2027-11-20T10:30:00Z",
    "lastUsedAt": AT,
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
    "networkAddress": "203.0.113.7",
}


class KeyRequest(Request):
    model_config = example({"name": "importer", "scopes": ["deeplens.api.write"]})

    name: Name
    scopes: list[ApiScope] = Field(default=["deeplens.api.read", "deeplens.api.write"], min_length=1, max_length=3)
    expires_at: AwareDatetime | None = None


class RotationRequest(Request):
    model_config = example({"overlapHours": 24})

    overlap_hours: float = Field(default=24, ge=0, le=24 * 30, description="how long the old key goes on working")


class KeyView(ApiModel):
    """An API key without its secret."""

    model_config = example(KEY)

    prefix: str
    name: str
    scopes: list[str]
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None
    last_used_at: AwareDatetime | None = Field(default=None, description="to the minute")


class NewKeyView(KeyView):
    model_config = example({**KEY, "key": "dl_0f3a9b1c2d4e_…"})

    key: str = Field(description="returned only once")


class Keys(ApiModel):
    model_config = example({"keys": [KEY]})

    keys: list[KeyView]
    next: str | None = NEXT


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
    detail: Any = Field(
        default=None, description="the request's body without secrets; ``bodySha256`` and ``bodyBytes`` of a large one"
    )
    request_id: str
    network_address: str | None = None


class AuditPage(ApiModel):
    model_config = example({"entries": [ENTRY], "next": None})

    entries: list[AuditView]
    next: int | None = Field(default=None, description="send as ``before`` for the next page")
