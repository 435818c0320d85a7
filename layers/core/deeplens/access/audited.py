"""Every write of the Admin API is noted before it is begun, and again when it has ended."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool

from deeplens.access.audit import Deed
from deeplens.access.caller import principal_of
from deeplens.access.principal import Principal
from deeplens.errors import ApiError, PipelineError
from deeplens.http.dependencies import Admin

READS = {"GET", "HEAD", "OPTIONS"}
SECRET = ("password", "secret", "server", "credential")
MAX_DETAIL_BYTES = 16 * 1024


async def audited(
    request: Request, parts: Admin, principal: Annotated[Principal, Depends(principal_of)]
) -> AsyncIterator[None]:
    """Notes who wants what; a write that cannot be noted is not done."""
    if request.method in READS:
        yield
        return
    deed = await _deed(request, principal)
    await run_in_threadpool(parts.audit.append, deed, "begun")
    outcome = "done"
    try:
        yield
    except BaseException as error:
        outcome = _code(error)
        raise
    finally:
        await run_in_threadpool(parts.audit.append, deed, outcome)


async def _deed(request: Request, principal: Principal) -> Deed:
    route = getattr(request.scope.get("route"), "path", request.url.path)
    tenant_id = request.path_params.get("tenant_id")
    body = await _body(request)
    if tenant_id is None and isinstance(body, dict):
        tenant_id = body.get("tenantId")
    return Deed(
        principal,
        str(tenant_id)[:64] if tenant_id else None,
        f"{request.method} {route}",
        request.url.path[:500],
        without_secrets(body),
        request.state.request_id,
    )


async def _body(request: Request) -> Any:
    sent = await request.body()
    if not sent or len(sent) > MAX_DETAIL_BYTES:
        return None
    try:
        return await request.json()
    except ValueError:
        return None


def without_secrets(value: Any) -> Any:
    """The same JSON with every secret's value hidden."""
    match value:
        case dict():
            hidden = {name for name in value if any(word in str(name).lower() for word in SECRET)}
            return {name: "…" if name in hidden else without_secrets(item) for name, item in value.items()}
        case list():
            return [without_secrets(item) for item in value]
        case str() if "sig=" in value.lower():
            # A URL with a signature, pasted where none belongs.
            return "…"
    return value


def _code(error: BaseException) -> str:
    match error:
        case ApiError():
            return error.code
        case PipelineError():
            return error.code.lower()
    return f"failed: {type(error).__name__}"
