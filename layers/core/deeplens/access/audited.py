"""Every write of the Admin API is recorded before it begins and again when it has ended."""

import hashlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from pydantic_core import from_json

from deeplens.access.caller import Authenticated
from deeplens.access.model import AuditEntry, Principal
from deeplens.access.ports import AuditLog
from deeplens.errors import ApiError, PipelineError
from deeplens.http.dependencies import Injected
from deeplens.http.middleware import network_address

READS = {"GET", "HEAD", "OPTIONS"}
SECRET_WORDS = ("password", "secret", "server", "credential")
MAX_DETAIL_BYTES = 16 * 1024


async def audited(request: Request, principal: Authenticated, log: Injected[AuditLog]) -> AsyncIterator[None]:
    """Record a write and its outcome. Fail closed: a write that cannot be recorded is not done."""
    if request.method in READS:
        yield
        return
    entry = await _entry(request, principal)
    await run_in_threadpool(log.append, entry, "begun")
    outcome = "done"
    try:
        yield
    except BaseException as error:
        outcome = outcome_of(error)
        raise
    finally:
        await run_in_threadpool(log.append, entry, outcome)


async def _entry(request: Request, principal: Principal) -> AuditEntry:
    route = getattr(request.scope.get("route"), "path", request.url.path)
    tenant_id = request.path_params.get("tenant_id")
    raw = await request.body()
    body = _parsed(raw)
    if tenant_id is None and isinstance(body, dict):
        tenant_id = body.get("tenantId")
    return AuditEntry(
        principal,
        str(tenant_id)[:64] if tenant_id else None,
        f"{request.method} {route}",
        request.url.path[:500],
        detail_of(raw, body),
        request.state.request_id,
        network_address(request.scope),
    )


def _parsed(raw: bytes) -> Any:
    try:
        return from_json(raw)
    except ValueError:
        return None


def detail_of(raw: bytes, body: Any) -> Any:
    """The body without secrets; of a large body, and of one that is not JSON, size and SHA-256."""
    if body is None and not raw:
        return None
    if body is None or len(raw) > MAX_DETAIL_BYTES:
        return {"bodyBytes": len(raw), "bodySha256": hashlib.sha256(raw).hexdigest()}
    return without_secrets(body)


def without_secrets(value: Any) -> Any:
    """The same JSON with every secret's value replaced by ``…``."""
    match value:
        case dict():
            hidden = {name for name in value if any(word in str(name).lower() for word in SECRET_WORDS)}
            return {name: "…" if name in hidden else without_secrets(item) for name, item in value.items()}
        case list():
            return [without_secrets(item) for item in value]
        case str() if "sig=" in value.lower():
            # A signed URL in a field that takes no secret.
            return "…"
    return value


def outcome_of(error: BaseException) -> str:
    """How the audit log names a failure."""
    if isinstance(error, ApiError | PipelineError):
        return error.code.lower()
    return f"failed: {type(error).__name__}"
