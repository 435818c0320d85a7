"""Convert HTTP requests to Lambda events and results to responses: payload format 2.0 of HTTP APIs, pure functions.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

import base64
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, unquote
from uuid import uuid4

from local.runner.template import HttpEvent
from local.runner.worker import Result

TEXT_TYPES = ("text/", "application/json", "application/xml", "application/javascript")
"""Content types of bodies that arrive as text. All others arrive in base64, also forms and bodies without a type."""


def match_path(pattern: str, path: str) -> dict[str, str] | None:
    """Return the parameters of ``/v1/images/{id}`` or a greedy ``/v1/{proxy+}``; None if the path does not match."""
    if pattern == "$default":
        return {}
    expected, segments = pattern.strip("/").split("/"), path.strip("/").split("/")
    parameters: dict[str, str] = {}
    for position, part in enumerate(expected):
        if part.startswith("{") and part.endswith("+}"):
            rest = "/".join(segments[position:])
            return {**parameters, part[1:-2]: unquote(rest)} if rest else None
        if position >= len(segments):
            return None
        if part.startswith("{"):
            parameters[part[1:-1]] = unquote(segments[position])
        elif part != segments[position]:
            return None
    return parameters if len(expected) == len(segments) else None


def match_route(events: Iterable[HttpEvent], method: str, path: str) -> tuple[HttpEvent, dict[str, str]] | None:
    """Return the most specific route and its parameters: literal before variable before greedy before ``$default``."""
    matches = [
        (event, parameters)
        for event in events
        if (event.path == "$default" or event.method in ("ANY", "*", method))
        and (parameters := match_path(event.path, path)) is not None
    ]
    return min(matches, key=lambda match: _generality(match[0])) if matches else None


def _generality(event: HttpEvent) -> tuple[Sequence[int], bool]:
    """Return a sort key that is smaller for a more specific route."""
    if event.path == "$default":
        return (3,), True
    parts = event.path.strip("/").split("/")
    kinds = tuple(2 if part.endswith("+}") else 1 if part.startswith("{") else 0 for part in parts)
    return kinds, event.method in ("ANY", "*")


def request_event(
    scope: Mapping[str, Any], body: bytes, event: HttpEvent, parameters: Mapping[str, str], host: str
) -> dict[str, Any]:
    """Return the Lambda event of an ASGI request."""
    headers, cookies = _headers(scope)
    route_key = event.path if event.path == "$default" else f"{event.method} {event.path}"
    query = scope["query_string"].decode("latin-1")
    path = unquote(scope["raw_path"].decode("latin-1").split("?")[0])
    content, encoded = _content(body, headers.get("content-type", ""))
    optional = {
        "cookies": cookies,
        "queryStringParameters": _joined(parse_qsl(query, keep_blank_values=True)),
        "pathParameters": dict(parameters),
        "body": content,
    }
    return {
        "version": "2.0",
        "routeKey": route_key,
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": _context(scope, path, route_key, host, headers),
        "isBase64Encoded": encoded,
        **{name: value for name, value in optional.items() if value},
    }


def _headers(scope: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    pairs = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
    cookies = [part.strip() for name, value in pairs if name == "cookie" for part in value.split(";")]
    headers = _joined((name, value) for name, value in pairs if name != "cookie")
    client, port = scope.get("client") or ("127.0.0.1", 0), (scope.get("server") or ("", 80))[1]
    forwarded = _joined([*_pair("x-forwarded-for", headers), ("x-forwarded-for", client[0])])
    return headers | forwarded | {"x-forwarded-proto": scope["scheme"], "x-forwarded-port": str(port)}, cookies


def _pair(name: str, headers: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, headers[name])] if name in headers else []


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Join several values of a name with commas, as API Gateway does."""
    joined: dict[str, str] = {}
    for name, value in pairs:
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _content(body: bytes, content_type: str) -> tuple[str, bool]:
    if not body:
        return "", False
    if content_type.lower().startswith(TEXT_TYPES):
        try:
            return body.decode(), False
        except UnicodeDecodeError:
            pass
    return base64.b64encode(body).decode(), True


def _context(
    scope: Mapping[str, Any], path: str, route_key: str, host: str, headers: Mapping[str, str]
) -> dict[str, Any]:
    now = time.time()
    return {
        "accountId": "000000000000",
        "apiId": "local",
        "domainName": host,
        "domainPrefix": host.split(".")[0],
        "http": {
            "method": scope["method"],
            "path": path,
            "protocol": f"HTTP/{scope['http_version']}",
            "sourceIp": (scope.get("client") or ("127.0.0.1", 0))[0],
            "userAgent": headers.get("user-agent", ""),
        },
        "requestId": str(uuid4()),
        "routeKey": route_key,
        "stage": "$default",
        "time": datetime.fromtimestamp(now, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000"),
        "timeEpoch": int(now * 1000),
    }


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def message(status: int, text: str) -> Response:
    """Return a response of the gateway itself, in API Gateway's format."""
    return Response(status, [(b"content-type", b"application/json")], json.dumps({"message": text}).encode())


def response_of(result: Result) -> Response:
    """Return the HTTP response of an invocation. A failed one becomes the 413 or 500 that API Gateway sends."""
    if result.error is not None:
        if result.error.get("errorType") == "RequestEntityTooLargeException":
            return message(413, "Request Entity Too Large")
        return message(500, "Internal Server Error")
    try:
        return _payload_response(result.payload)
    except (TypeError, ValueError, AttributeError):
        return message(500, "Internal Server Error")


def _payload_response(payload: Any) -> Response:
    if not isinstance(payload, dict) or "statusCode" not in payload:
        body = payload if isinstance(payload, str) else json.dumps(payload)
        return Response(200, [(b"content-type", b"application/json")], body.encode())
    body = payload.get("body") or ""
    content = base64.b64decode(body) if payload.get("isBase64Encoded") else body.encode()
    headers = [
        (name.lower().encode("latin-1"), str(value).encode("latin-1"))
        for name, value in (payload.get("headers") or {}).items()
        if name.lower() != "content-length"
    ]
    cookies = [(b"set-cookie", cookie.encode("latin-1")) for cookie in payload.get("cookies") or []]
    return Response(int(payload["statusCode"]), headers + cookies, content)
