"""The ASGI application: routes, JSON bodies, and Qdrant's response envelope and errors.

Handlers run on the event loop itself: the engine holds the GIL during every call, so threads would add context
switches and no parallelism.
"""

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from pydantic_core import from_json, to_json

from local.vector_server.catalogue import Catalogue
from local.vector_server.errors import RequestError
from local.vector_server.translate import Json

type Scope = dict[str, Any]
type Receive = Callable[[], Awaitable[Json]]
type Send = Callable[[Json], Awaitable[None]]
type Handler = Callable[[Catalogue, tuple[str, ...], Json], Any]

ABOUT = {"title": "DeepLens vectors on Qdrant Edge", "version": "1.20.0"}
"""Body of ``GET /``. Clients check the version, which is that of Qdrant's REST API."""
MAX_BODY_BYTES = 32 * 1024 * 1024
FLUSH_SECONDS = 2.0
PROBES = {"/healthz": b"healthz check passed", "/livez": b"livez check passed", "/readyz": b"all shards are ready"}
log = logging.getLogger(__name__)

# `*` matches one path segment. Handlers take the catalogue, these segments in order, and the body.
ROUTES: dict[tuple[str, str], Handler] = {
    ("GET", "collections"): lambda c, _p, _b: {"collections": [{"name": name} for name in c.names()]},
    ("PUT", "collections/*"): lambda c, p, b: c.create(p[0], b),
    ("GET", "collections/*"): lambda c, p, _b: c.get(p[0]).info(),
    ("DELETE", "collections/*"): lambda c, p, _b: c.drop(p[0]),
    ("GET", "collections/*/exists"): lambda c, p, _b: {"exists": c.exists(p[0])},
    ("PUT", "collections/*/index"): lambda c, p, b: c.get(p[0]).create_index(b),
    ("DELETE", "collections/*/index/*"): lambda c, p, _b: c.get(p[0]).delete_index(p[1]),
    ("PUT", "collections/*/points"): lambda c, p, b: c.get(p[0]).upsert(b),
    ("POST", "collections/*/points"): lambda c, p, b: c.get(p[0]).retrieve(b),
    ("GET", "collections/*/points/*"): lambda c, p, _b: c.get(p[0]).get(p[1]),
    ("POST", "collections/*/points/delete"): lambda c, p, b: c.get(p[0]).delete(b),
    ("POST", "collections/*/points/scroll"): lambda c, p, b: c.get(p[0]).scroll(b),
    ("POST", "collections/*/points/query"): lambda c, p, b: c.get(p[0]).query(b),
    ("POST", "collections/*/points/query/batch"): lambda c, p, b: c.get(p[0]).query_batch(b),
    ("POST", "collections/*/points/count"): lambda c, p, b: c.get(p[0]).count(b),
    ("POST", "collections/*/points/payload"): lambda c, p, b: c.get(p[0]).set_payload(b),
    ("PUT", "collections/*/points/payload"): lambda c, p, b: c.get(p[0]).overwrite_payload(b),
}
FIXED_SEGMENTS = {"exists", "index", "points", "delete", "scroll", "query", "batch", "count", "payload"}


class VectorServer:
    """Serve Qdrant's REST API for a catalogue of collections.

    Parameters
    ----------
    api_key : if not empty, every request except probes must carry it as ``api-key`` or bearer token.
    """

    def __init__(self, catalogue: Catalogue, api_key: str = "") -> None:
        self._catalogue, self._api_key = catalogue, api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, path = time.perf_counter(), scope["path"]
        if path in PROBES:
            return await _send(send, 200, PROBES[path], b"text/plain")
        if path == "/":
            return await _send(send, 200, to_json(ABOUT))
        try:
            self._authorise(scope)
            handler, captured = route(scope["method"], path)
            result = handler(self._catalogue, captured, _parse(await _body(receive)))
            status, answer = 200, {"result": result, "status": "ok"}
        except RequestError as error:
            status, answer = error.status, {"status": {"error": error.message}}
        except Exception as error:
            status, answer = _error_response(error, scope)
        return await _send(send, status, to_json(answer | {"time": time.perf_counter() - started}))

    def _authorise(self, scope: Scope) -> None:
        if not self._api_key:
            return
        headers = dict(scope["headers"])
        bearer = headers.get(b"authorization", b"").removeprefix(b"Bearer ")
        if not hmac.compare_digest(headers.get(b"api-key", bearer), self._api_key):
            raise RequestError(401, "Must provide an API key or an Authorization bearer token")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        flushing = asyncio.create_task(self._flush_periodically())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        flushing.cancel()
        with suppress(asyncio.CancelledError):
            await flushing
        self._catalogue.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _flush_periodically(self) -> None:
        """Flush changed collections, for power failures and short write-ahead logs.

        Acknowledged writes survive a killed process without it.
        """
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            for name in self._catalogue.unflushed():
                try:
                    self._catalogue.flush(name)
                except Exception:
                    log.exception("cannot flush collection %s", name)
                await asyncio.sleep(0)


def route(method: str, path: str) -> tuple[Handler, tuple[str, ...]]:
    """Return the handler of a request and the path segments it takes. Raises ``RequestError`` 404 or 405."""
    segments = path.strip("/").split("/")
    pattern = "/".join("*" if _is_name(i, segment) else segment for i, segment in enumerate(segments))
    handler = ROUTES.get((method, pattern))
    if handler is not None:
        return handler, tuple(segment for i, segment in enumerate(segments) if _is_name(i, segment))
    path_exists = any(pattern == other for _, other in ROUTES)
    raise RequestError(405 if path_exists else 404, f"{method} {path} is not part of the API served here")


def _is_name(position: int, segment: str) -> bool:
    """Return whether a segment is a name: the second always is, the fourth unless it is a fixed segment."""
    return position == 1 or (position == 3 and segment not in FIXED_SEGMENTS)


async def _body(receive: Receive) -> bytes:
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestError(400, "the client closed the connection before its request was complete")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > MAX_BODY_BYTES:
            raise RequestError(413, f"Payload error: JSON payload has exceeded {MAX_BODY_BYTES} bytes")
        if not message.get("more_body"):
            return b"".join(chunks)


def _parse(body: bytes) -> Json:
    if not body:
        return {}
    try:
        parsed = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise RequestError(400, f"Format error in JSON body: {error}") from None
    if not isinstance(parsed, dict):
        raise RequestError(400, "Format error in JSON body: an object is expected")
    return parsed


def _error_response(error: Exception, scope: Scope) -> tuple[int, Json]:
    """Return 400 for Python's errors about the body, which has no schema, and 500 for errors of the engine."""
    if isinstance(error, KeyError):
        return 400, {"status": {"error": f"Format error in JSON body: missing field {error}"}}
    if isinstance(error, TypeError | ValueError | AttributeError | OverflowError):
        return 400, {"status": {"error": f"Format error in JSON body: {error}"}}
    log.error("%s %s", scope["method"], scope["path"], exc_info=error)
    return 500, {"status": {"error": f"Service internal error: {error}"}}


async def _send(send: Send, status: int, body: bytes, content_type: bytes = b"application/json") -> None:
    headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
