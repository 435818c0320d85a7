"""``Traces`` on Jaeger's query API, which the local stack's own store answers as well."""

import json
import re
from typing import Any

import urllib3
from pydantic_core import from_json

from deeplens.errors import TracesUnavailable
from deeplens.telemetry.conventions import ALLOWED, IMAGE, SERVICE_NAMESPACE
from deeplens.traces.model import KeptSpan, Link

MAX_TRACES = 20
TRACE_ID = re.compile(r"[0-9a-f]{32}")
TIMEOUT = urllib3.Timeout(connect=2.0, read=5.0)
KIND, FUNCTION, PARENT = "span.kind", "faas.name", "CHILD_OF"


class JaegerTraces:
    """Asks the query API of Jaeger at a URL; an empty URL knows no traces."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._pool = urllib3.PoolManager(timeout=TIMEOUT, retries=False)

    def of_image(self, image_id: str) -> list[KeptSpan]:
        fields = {"service": SERVICE_NAMESPACE, "tags": json.dumps({IMAGE: image_id}), "limit": str(MAX_TRACES)}
        return self._ask("/api/traces", fields)

    def of_trace(self, trace_id: str) -> list[KeptSpan]:
        return self._ask(f"/api/traces/{trace_id}", {}) if TRACE_ID.fullmatch(trace_id) else []

    def _ask(self, path: str, fields: dict[str, str]) -> list[KeptSpan]:
        if not self._url:
            return []
        try:
            answer = self._pool.request("GET", f"{self._url}{path}", fields=fields)
            if answer.status == 404:
                return []
            if answer.status != 200:
                raise TracesUnavailable(f"the trace store answered {answer.status}")
            return spans_of(from_json(answer.data))
        except urllib3.exceptions.HTTPError as error:
            raise TracesUnavailable(type(error).__name__) from error
        except (ValueError, KeyError, TypeError) as error:
            raise TracesUnavailable("the trace store gave an answer that is not Jaeger's") from error


def spans_of(document: Any) -> list[KeptSpan]:
    """The spans of an answer, oldest first, without the tags that Jaeger or other services add."""
    spans = [_span(span, trace["processes"]) for trace in document["data"] or [] for span in trace["spans"]]
    return sorted(spans, key=lambda span: (span.started_ns, span.span_id))


def _span(given: dict[str, Any], processes: dict[str, Any]) -> KeptSpan:
    tags = {tag["key"]: tag["value"] for tag in given.get("tags") or []}
    process = {tag["key"]: tag["value"] for tag in processes[given["processID"]].get("tags") or []}
    parents = [link for kind, link in map(_reference, given.get("references") or []) if kind == PARENT]
    own = [span_id for trace_id, span_id in parents if trace_id == given["traceID"]]
    started = int(given["startTime"]) * 1000
    return KeptSpan(
        given["traceID"],
        given["spanID"],
        own[0] if own else None,
        given["operationName"],
        str(tags.pop(KIND, "internal")),
        str(process.get(FUNCTION, "")),
        started,
        started + int(given["duration"]) * 1000,
        {name: value for name, value in tags.items() if name in ALLOWED},
        tuple(link for kind, link in map(_reference, given.get("references") or []) if kind != PARENT),
    )


def _reference(given: dict[str, Any]) -> tuple[str, Link]:
    return given["refType"], (given["traceID"], given["spanID"])


def document_of(spans: list[KeptSpan]) -> dict[str, Any]:
    """The answer that Jaeger would give, for the store of the local stack."""
    by_trace: dict[str, list[KeptSpan]] = {}
    for span in spans:
        by_trace.setdefault(span.trace_id, []).append(span)
    return {"data": [_trace(trace_id, group) for trace_id, group in by_trace.items()]}


def _trace(trace_id: str, spans: list[KeptSpan]) -> dict[str, Any]:
    processes = {
        span.function: {"serviceName": SERVICE_NAMESPACE, "tags": [_tag(FUNCTION, span.function)]} for span in spans
    }
    return {"traceID": trace_id, "spans": [_described(span) for span in spans], "processes": processes}


def _described(span: KeptSpan) -> dict[str, Any]:
    parent = [("CHILD_OF", (span.trace_id, span.parent_id))] if span.parent_id else []
    links = [("FOLLOWS_FROM", link) for link in span.links]
    return {
        "traceID": span.trace_id,
        "spanID": span.span_id,
        "operationName": span.name,
        "references": [{"refType": kind, "traceID": link[0], "spanID": link[1]} for kind, link in [*parent, *links]],
        "startTime": span.started_ns // 1000,
        "duration": max(0, span.ended_ns - span.started_ns) // 1000,
        "tags": [_tag(KIND, span.kind), *(_tag(name, value) for name, value in span.attributes.items())],
        "processID": span.function,
    }


def _tag(key: str, value: Any) -> dict[str, Any]:
    return {"key": key, "type": "string" if isinstance(value, str) else "float64", "value": value}
