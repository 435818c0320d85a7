"""API Gateway's HTTP API on one port: routes of the template, payload format 2.0.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

import asyncio
import base64
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, unquote
from uuid import uuid4

import uvicorn
from starlette.types import Receive, Scope, Send

from local.runner.template import HttpEvent
from local.runner.worker import Pool, Result

MAX_BODY_BYTES = 10 * 1024 * 1024
MAX_LAMBDA_BYTES = 6 * 1024 * 1024
TIMEOUT_SECONDS = 30.0
TEXT = ("text/", "application/json", "application/xml", "application/javascript", "application/x-www-form-urlencoded")


@dataclass(frozen=True, slots=True)
class Route:
    event: HttpEvent
    pool: Pool

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """Path parameters, or None when the route does not fit."""
        if self.event.method not in ("ANY", "*", method) and self.event.path != "$default":
            return None
        return {} if self.event.path == "$default" else match_path(self.event.path, path)


def match_path(pattern: str, path: str) -> dict[str, str] | None:
    """Match ``/v1/images/{id}`` or a greedy ``/v1/{proxy+}``."""
    wanted, given = pattern.strip("/").split("/"), path.strip("/").split("/")
    parameters: dict[str, str] = {}
    for position, part in enumerate(wanted):
        if part.startswith("{") and part.endswith("+}"):
            rest = "/".join(given[position:])
            return {**parameters, part[1:-2]: unquote(rest)} if rest else None
        if position >= len(given):
            return None
        if part.startswith("{"):
            parameters[part[1:-1]] = unquote(given[position])
        elif part != given[position]:
            return None
    return parameters if len(wanted) == len(given) else None


def choose(routes: Sequence[Route], method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    """The most specific route: full match before greedy before ``$default``."""
    fitting = [(route, found) for route in routes if (found := route.match(method, path)) is not None]
    if not fitting:
        return None
    return min(fitting, key=lambda pair: (pair[0].event.path == "$default", "+}" in pair[0].event.path))


def request_event(
    scope: Mapping[str, Any], body: bytes, route: Route, parameters: dict[str, str], host: str
) -> dict[str, Any]:
    """A request as Lambda receives it."""
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name == "cookie":
            cookies += [part.strip() for part in value.split(";")]
        else:
            headers[name] = f"{headers[name]},{value}" if name in headers else value
    query = scope["query_string"].decode("latin-1")
    binary = not headers.get("content-type", "text/").startswith(TEXT) or not _is_text(body)
    path = scope["raw_path"].decode("latin-1").split("?")[0]
    now = time.time()
    client = (scope.get("client") or ("127.0.0.1", 0))[0]
    method, route_key = scope["method"], route.event.path
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": route_key if route_key == "$default" else f"{route.event.method} {route_key}",
        "rawPath": unquote(path),
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "domainName": host,
            "domainPrefix": host.split(".")[0],
            "http": {
                "method": method,
                "path": unquote(path),
                "protocol": f"HTTP/{scope['http_version']}",
                "sourceIp": client,
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": str(uuid4()),
            "routeKey": route_key,
            "stage": "$default",
            "time": datetime.fromtimestamp(now, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": int(now * 1000),
        },
        "isBase64Encoded": bool(body) and binary,
    }
    if cookies:
        event["cookies"] = cookies
    if query:
        event["queryStringParameters"] = _query(query)
    if parameters:
        event["pathParameters"] = parameters
    if body:
        event["body"] = base64.b64encode(body).decode() if binary else body.decode()
    return event


def _is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _query(query: str) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def response_of(result: Result) -> Response:
    """A function's answer as HTTP; its failures as API Gateway shows them."""
    if result.error is not None:
        timed_out = result.error.get("errorType") == "Sandbox.Timedout"
        return _message(504, "Gateway Timeout") if timed_out else _message(500, "Internal Server Error")
    payload = result.payload
    if not isinstance(payload, dict) or "statusCode" not in payload:
        return Response(200, [(b"content-type", b"application/json")], str(payload).encode())
    body = payload.get("body") or ""
    content = base64.b64decode(body) if payload.get("isBase64Encoded") else body.encode()
    headers = [(n.lower().encode(), str(v).encode("latin-1")) for n, v in (payload.get("headers") or {}).items()]
    headers += [(b"set-cookie", cookie.encode()) for cookie in payload.get("cookies") or []]
    kept = [(name, value) for name, value in headers if name != b"content-length"]
    return Response(int(payload["statusCode"]), kept, content)


def _message(status: int, text: str) -> Response:
    return Response(status, [(b"content-type", b"application/json")], f'{{"message":"{text}"}}'.encode())


class HttpGateway:
    """Serves the template's HTTP routes on ``port`` in a thread of its own."""

    def __init__(self, routes: Sequence[Route], host: str, port: int) -> None:
        self._routes, self._host = routes, f"{host}:{port}"
        threads = sum({id(route.pool): route.pool.limit for route in routes}.values()) or 1
        self._callers = ThreadPoolExecutor(threads + 4, thread_name_prefix="http")
        config = uvicorn.Config(
            self._serve,
            interface="asgi3",
            host=host,
            port=port,
            log_level="warning",
            lifespan="off",
            access_log=False,
            ws="none",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="http gateway", daemon=True)

    def start(self) -> None:
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError(f"the HTTP gateway did not start on {self._host}")
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(5)
        self._callers.shutdown(wait=False, cancel_futures=True)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        response = await self._respond(scope, receive)
        length = [(b"content-length", str(len(response.body)).encode())]
        await send({"type": "http.response.start", "status": response.status, "headers": response.headers + length})
        body = b"" if scope["method"] == "HEAD" else response.body
        await send({"type": "http.response.body", "body": body})

    async def _respond(self, scope: Scope, receive: Receive) -> Response:
        path = scope["raw_path"].decode("latin-1").split("?")[0]
        chosen = choose(self._routes, scope["method"], path)
        if chosen is None:
            return _message(404, "Not Found")
        body = await _body(receive)
        if body is None or len(body) * 4 // 3 > MAX_LAMBDA_BYTES:
            return _message(413, "Request Entity Too Large")
        route, parameters = chosen
        event = request_event(scope, body, route, parameters, self._host)
        call = asyncio.get_running_loop().run_in_executor(self._callers, route.pool.invoke, event)
        try:
            return response_of(await asyncio.wait_for(asyncio.shield(call), TIMEOUT_SECONDS))
        except TimeoutError:
            return _message(503, "Service Unavailable")


async def _body(receive: Receive) -> bytes | None:
    """The request's body; None above API Gateway's limit, read to its end so that the client sees the answer."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if size <= MAX_BODY_BYTES:
            chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks) if size <= MAX_BODY_BYTES else None
