"""HTTP requests as Lambda receives them from an HTTP API, and answers back: payload format 2.0, pure.

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

TEXT = ("text/", "application/json", "application/xml", "application/javascript")
"""What arrives as text; all else, forms and bodies without a type included, arrives in base64."""


def match_path(pattern: str, path: str) -> dict[str, str] | None:
    """Parameters of ``/v1/images/{id}`` or a greedy ``/v1/{proxy+}``; None when the path does not fit."""
    if pattern == "$default":
        return {}
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


def choose(events: Iterable[HttpEvent], method: str, path: str) -> tuple[HttpEvent, dict[str, str]] | None:
    """The most specific route and its parameters: literal before variable before greedy before ``$default``."""
    fitting = [
        (event, found)
        for event in events
        if (event.path == "$default" or event.method in ("ANY", "*", method))
        and (found := match_path(event.path, path)) is not None
    ]
    return min(fitting, key=lambda pair: _generality(pair[0])) if fitting else None


def _generality(event: HttpEvent) -> tuple[Sequence[int], bool]:
    if event.path == "$default":
        return (3,), True
    parts = event.path.strip("/").split("/")
    kinds = tuple(2 if part.endswith("+}") else 1 if part.startswith("{") else 0 for part in parts)
    return kinds, event.method in ("ANY", "*")


def request_event(
    scope: Mapping[str, Any], body: bytes, event: HttpEvent, parameters: Mapping[str, str], host: str
) -> dict[str, Any]:
    """An ASGI request as Lambda receives it."""
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
    """Several values of a name become one, with commas."""
    joined: dict[str, str] = {}
    for name, value in pairs:
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _content(body: bytes, content_type: str) -> tuple[str, bool]:
    if not body:
        return "", False
    if content_type.lower().startswith(TEXT):
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
    """An answer of the gateway itself."""
    return Response(status, [(b"content-type", b"application/json")], json.dumps({"message": text}).encode())


def response_of(result: Result) -> Response:
    """A function's answer as HTTP; its failures as API Gateway shows them."""
    if result.error is not None:
        if result.error.get("errorType") == "RequestEntityTooLargeException":
            return message(413, "Request Entity Too Large")
        return message(500, "Internal Server Error")
    try:
        return _answer(result.payload)
    except (TypeError, ValueError, AttributeError):
        return message(500, "Internal Server Error")


def _answer(payload: Any) -> Response:
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
