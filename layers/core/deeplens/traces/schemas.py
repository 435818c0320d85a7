"""Traces in the Admin API."""

from datetime import UTC, datetime
from typing import Any

from pydantic import AwareDatetime, Field

from deeplens.http.schemas import AT, ApiModel, example
from deeplens.telemetry.conventions import Value
from deeplens.traces.model import KeptSpan

SPAN: dict[str, Any] = {
    "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
    "spanId": "00f067aa0ba902b7",
    "parentId": None,
    "depth": 0,
    "name": "POST /v1/images",
    "kind": "server",
    "function": "search_api",
    "startedAt": AT,
    "durationMs": 23.4,
    "error": None,
    "attributes": {"http.response.status_code": 202, "deeplens.tenant.id": "tenant_acme"},
    "links": [],
}


class SpanLink(ApiModel):
    trace_id: str
    span_id: str


class SpanView(ApiModel):
    """A span; ``depth`` counts the spans that it is below."""

    trace_id: str
    span_id: str
    parent_id: str | None
    depth: int
    name: str
    kind: str
    function: str
    started_at: AwareDatetime
    duration_ms: float
    error: str | None = Field(description="code or class of the error")
    attributes: dict[str, Value]
    links: list[SpanLink]


class TraceView(ApiModel):
    """The spans of an image in the order of a waterfall: each below its parent, by start."""

    model_config = example({"spans": [SPAN]})

    spans: list[SpanView]


def span_view(depth: int, span: KeptSpan) -> SpanView:
    return SpanView(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_id=span.parent_id,
        depth=depth,
        name=span.name,
        kind=span.kind,
        function=span.function,
        started_at=datetime.fromtimestamp(span.started_ns / 1e9, UTC),
        duration_ms=round((span.ended_ns - span.started_ns) / 1e6, 3),
        error=span.error,
        attributes=dict(span.attributes),
        links=[SpanLink(trace_id=trace_id, span_id=span_id) for trace_id, span_id in span.links],
    )
