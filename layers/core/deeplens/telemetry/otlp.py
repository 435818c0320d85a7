"""Export spans and metrics as OTLP JSON over HTTP. Imported only where an endpoint is configured.

The OpenTelemetry SDK with its exporter costs 160 ms of a cold start (docs/decisions/0023-traces.md).
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from deeplens.telemetry.conventions import ERROR_TYPE, SCHEMA_URL, Value, allowed
from deeplens.telemetry.instruments import DROPPED
from deeplens.telemetry.logs import logger
from deeplens.telemetry.metrics import record
from deeplens.telemetry.tracing import Span

TRACES = "/v1/traces"
HEADERS = {"Content-Type": "application/json"}
FIRST_REST_SECONDS, LONGEST_REST_SECONDS = 1.0, 30.0
"""How long nothing is sent after a failure, twice as long after each further one: few invocations are delayed."""
STATUS_ERROR = 2


class OtlpExporter:
    """Posts spans and points of metrics within a deadline; what does not arrive is dropped and counted.

    Parameters
    ----------
    endpoint : ``OTEL_EXPORTER_OTLP_ENDPOINT``, to whose path that of a signal is added.
    resource : attributes of this function.
    timeout_seconds : of connecting, of sending and of reading, each.
    sign : returns the headers of a request to a URL with a body; None sends it unsigned.
    """

    def __init__(
        self,
        endpoint: str,
        resource: Mapping[str, Value],
        timeout_seconds: float = 0.15,
        monotonic: Callable[[], float] = time.monotonic,
        sign: Callable[[str, bytes, Mapping[str, str]], dict[str, str]] | None = None,
    ) -> None:
        address = urlsplit(endpoint)
        self._url, self._sign = endpoint.rstrip("/"), sign
        connection = HTTPSConnection if address.scheme == "https" else HTTPConnection
        self._connection = connection(address.hostname or "", address.port, timeout=timeout_seconds)
        self._path = address.path.rstrip("/")
        self.resource, self._monotonic = resource, monotonic
        self._rests_until, self._rest_seconds = 0.0, FIRST_REST_SECONDS
        self._sending = threading.Lock()
        self.dropped = 0

    def __call__(self, spans: Sequence[Span]) -> None:
        self.send(TRACES, "spans", len(spans), lambda: request_of(spans, self.resource))

    def send(self, path: str, signal: str, count: int, request: Callable[[], Mapping[str, Any]]) -> None:
        """Post a request of ``count`` spans or points. Never raises."""
        if self._monotonic() < self._rests_until:
            self._drop(signal, count)
            return
        try:
            body = json.dumps(request(), separators=(",", ":")).encode()
            with self._sending:
                reason = self._post(path, body)
        except Exception as error:
            # Whatever is wrong with telemetry, the invocation goes on.
            reason = type(error).__name__
        if reason is None:
            self._rest_seconds = FIRST_REST_SECONDS
        else:
            self._rests_until = self._monotonic() + self._rest_seconds
            self._rest_seconds = min(2 * self._rest_seconds, LONGEST_REST_SECONDS)
            self._drop(signal, count)
            logger().warning("telemetry dropped", signal=signal, reason=reason, dropped=self.dropped)

    def _post(self, path: str, body: bytes) -> str | None:
        """Send the body; returns why it did not arrive. A connection that was closed meanwhile is opened again."""
        for attempt in (1, 2):
            try:
                headers = self._sign(self._url + path, body, HEADERS) if self._sign else HEADERS
                self._connection.request("POST", self._path + path, body, headers)
                answer = self._connection.getresponse()
                answer.read()
            except (ConnectionError, HTTPException) as error:
                self._connection.close()
                if attempt == 2 or isinstance(error, ConnectionRefusedError):
                    return type(error).__name__
            except OSError as error:
                self._connection.close()
                return type(error).__name__
            else:
                return None if answer.status < 300 else f"the collector answered {answer.status}"
        return None

    def _drop(self, signal: str, count: int) -> None:
        self.dropped += count
        record(DROPPED, count, signal=signal)


def request_of(spans: Sequence[Span], resource: Mapping[str, Value]) -> dict[str, Any]:
    """``ExportTraceServiceRequest`` as OTLP JSON."""
    scope = {"scope": {"name": "deeplens"}, "spans": [one for span in spans for one in _spans(span)]}
    described = {"resource": {"attributes": attributes_of(resource)}, "schemaUrl": SCHEMA_URL}
    return {"resourceSpans": [{**described, "scopeSpans": [scope]}]}


def _spans(span: Span) -> Iterator[dict[str, Any]]:
    """The span in each of its traces. All share what does not depend on the trace."""
    attributes = attributes_of(allowed(span.attributes))
    common: dict[str, Any] = {
        "name": span.name,
        "kind": int(span.kind),
        "startTimeUnixNano": str(span.started),
        "endTimeUnixNano": str(span.ended),
    }
    if span.links:
        common["links"] = [{"traceId": link.trace_id, "spanId": link.span_id} for link in span.links]
    if span.attributes.get(ERROR_TYPE) is not None:
        common["status"] = {"code": STATUS_ERROR}
    for context, parent_id in zip(span.contexts, span.parent_ids, strict=True):
        own = {"traceId": context.trace_id, "spanId": context.span_id}
        if parent_id:
            own["parentSpanId"] = parent_id
        yield {**own, **common, "attributes": attributes + attributes_of(dict(context.subject))}


def attributes_of(attributes: Mapping[str, Value]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in attributes.items()]


def _value(value: Value) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
    return {"stringValue": value}
