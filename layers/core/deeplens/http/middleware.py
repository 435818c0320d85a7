"""Middleware of every API: request id, trace, safe headers, one log line, and 500 for unexpected exceptions."""

import re
import time
from secrets import token_hex
from typing import Any

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deeplens.http.problems import problem_response, unexpected
from deeplens.telemetry import conventions as names
from deeplens.telemetry import instruments as of
from deeplens.telemetry import metrics, tracing
from deeplens.telemetry.context import unsampled_root
from deeplens.telemetry.conventions import Kind
from deeplens.telemetry.logs import lines_about, logger, request_origin
from deeplens.telemetry.metrics import record
from deeplens.telemetry.tracing import NO_SPAN, Span

REQUEST_ID = re.compile(r"[A-Za-z0-9._:=-]{1,100}")
JSON = re.compile(r"application/([a-z.]+\+)?json\b")
"""A browser that is made to open an answer saves it instead of showing what somebody may have put into it."""
TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


UPLOADS = re.compile(r"/v1/(images|videos|uploads|uploads/\{upload_id\}/complete)")
SEARCHES = re.compile(r"/v1/(search/\w+|images/\{image_id\}/similar)")
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


class RequestContext:
    """Set ``request_id`` and ``traceparent`` in the request's state, and answer 500 to uncaught exceptions."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        span = server_span(scope)
        state["request_id"], state["traceparent"] = request_id(scope), span.traceparent or traceparent(scope)
        state["https"] = scope.get("scheme") == "https"
        request_origin.set({"request_id": state["request_id"], "network_address": network_address(scope)})
        answer, trace_id = _Answer(send, state), state["traceparent"][3:35]
        with lines_about(request_id=state["request_id"], trace_id=trace_id), tracing.inside(span.contexts):
            try:
                await self._app(scope, receive, answer)
            except Exception:
                logger().exception("request failed")
                if answer.status is None:
                    await problem_response(Request(scope), unexpected())(scope, receive, answer)
            _log(scope, state, answer)
        _end_span(span, scope, state, answer.status)
        measure_request(span, scope, answer.status, time.perf_counter() - answer.started)
        tracing.flush()
        metrics.flush()


class BodyLimit:
    """Stop reading a body that is larger than ``max_bytes``, declared or not, before it is parsed."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        declared = Headers(scope=scope).get("content-length", "") if scope["type"] == "http" else ""
        left, too_large = self._max_bytes, HTTPException(413, f"A request has at most {self._max_bytes} bytes.")

        async def receive_within_limit() -> Message:
            nonlocal left
            if declared.isdigit() and int(declared) > self._max_bytes:
                raise too_large
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise too_large
            return message

        await self._app(scope, receive_within_limit, send)


class _Answer:
    """Remember the status of the response, and add the headers of every response and those in the state."""

    def __init__(self, send: Send, state: dict[str, Any]) -> None:
        self._send, self._state = send, state
        self.status: int | None = None
        self.started = time.perf_counter()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._state["request_id"]
            headers.update(self._state.get("headers", {}))
            headers["X-Content-Type-Options"] = "nosniff"
            # A cache between must not answer one caller with what another may see.
            headers.add_vary_header("Authorization, X-API-Key")
            if self._state["https"]:
                headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"
            headers.setdefault("Cache-Control", "no-store")
            headers.setdefault("Referrer-Policy", "no-referrer")
            # Pages set their own policy; whatever else a browser is made to show as a page can load and do nothing.
            headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
            if JSON.match(headers.get("content-type", "")):
                headers.setdefault("Content-Disposition", 'attachment; filename="api.json"')
        await self._send(message)


def request_id(scope: Scope) -> str:
    """The client's id when it is harmless, else Lambda's, else a new one."""
    sent = Headers(scope=scope).get("x-request-id", "")
    if REQUEST_ID.fullmatch(sent):
        return sent
    context = scope.get("aws.context")
    return str(getattr(context, "aws_request_id", "") or token_hex(16))


def network_address(scope: Scope) -> str | None:
    """The peer's address as the gateway saw it. Headers are not read: clients could set them."""
    return (scope.get("client") or (None,))[0]


def traceparent(scope: Scope) -> str:
    """The client's W3C trace context, or that of a new trace; sampled where nothing is recorded here."""
    sent = Headers(scope=scope).get("traceparent", "")
    if TRACEPARENT.fullmatch(sent):
        return sent
    return unsampled_root() if tracing.enabled() else f"00-{token_hex(16)}-{token_hex(8)}-01"


def server_span(scope: Scope) -> Span:
    """The span of a request, in the client's trace or one of its own."""
    if not tracing.enabled():
        return NO_SPAN
    parent = tracing.parent(Headers(scope=scope).get("traceparent"))
    attributes = {names.HTTP_METHOD: method_of(scope)}
    return tracing.begin(method_of(scope), Kind.SERVER, [parent] if parent else [], attributes)


def method_of(scope: Scope) -> str:
    """The method, or ``_OTHER`` for one that HTTP does not know, which a client made up."""
    return scope["method"] if scope["method"] in METHODS else "_OTHER"


def _end_span(span: Span, scope: Scope, state: dict[str, Any], status: int | None) -> None:
    """End a request's span, which is named after its route only now."""
    route = getattr(scope.get("route"), "path", None)
    span.set(
        {names.HTTP_ROUTE: route, names.HTTP_STATUS: status, names.TENANT: state.get("caller", {}).get("tenant_id")}
    )
    if span.contexts and route:
        span.name = f"{method_of(scope)} {route}"
    if status is None or status >= 500:
        span.fail(str(status or "unanswered"))
    tracing.end(span)


def measure_request(span: Span, scope: Scope, status: int | None, seconds: float) -> None:
    """Measure a request by its route, and by the objective that it belongs to."""
    method, route = method_of(scope), getattr(scope.get("route"), "path", "")
    operation = operation_of(method, route)
    outcome = "failed" if status is None or status >= 500 else "ok" if status < 400 else "refused"
    with tracing.inside(span.contexts):
        record(of.HTTP_DURATION, seconds, method=method, route=route, status=str(status or ""))
        record(of.API_DURATION, seconds, operation=operation)
    record(of.API_REQUESTS, operation=operation, outcome=outcome)


def operation_of(method: str, route: str) -> str:
    """The objective that a request belongs to: uploads, searches, or none."""
    if method == "POST" and UPLOADS.fullmatch(route):
        return "upload"
    return "search" if SEARCHES.fullmatch(route) else "other"


def _log(scope: Scope, state: dict[str, Any], answer: _Answer) -> None:
    route = scope.get("route")
    logger().info(
        "request",
        method=method_of(scope),
        route=getattr(route, "path", None),
        status=answer.status,
        duration_ms=round((time.perf_counter() - answer.started) * 1000, 1),
        **state.get("caller", {}),
    )
