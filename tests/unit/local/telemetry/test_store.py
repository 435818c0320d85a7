"""The store of the local stack: what it keeps and for how long, what it receives, and how a trace is drawn."""

import json
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest
from deeplens.telemetry.context import SpanContext
from deeplens.telemetry.conventions import IMAGE, STAGE, Kind
from deeplens.telemetry.otlp import OtlpExporter, request_of
from deeplens.telemetry.tracing import Span
from deeplens.traces.jaeger import JaegerTraces
from rich.console import Console

from local.services.process import free_port
from local.telemetry import store as module
from local.telemetry.receiver import TelemetryReceiver
from local.telemetry.store import FILE, SpanStore
from local.telemetry.waterfall import bar, waterfall
from tests.harness.cli import deeplens

RESOURCE = {"faas.name": "OnImageUploaded"}
NOW = time.time_ns()


def context(trace: str, number: int, image: str = "img_1") -> SpanContext:
    return SpanContext(trace * 32, f"{number:016x}", ((IMAGE, image),))


def span(number: int, trace: str = "a", parent: str = "", age_s: float = 0, image: str = "img_1") -> Span:
    started = NOW - int(age_s * 1e9) + number
    attributes = {STAGE: "preprocess"}
    links = [context("b", 9)]
    contexts = (context(trace, number, image),)
    return Span(f"span {number}", Kind.CONSUMER, contexts, (parent,), attributes, links, started, started + 9)


def body_of(*spans: Span) -> bytes:
    return json.dumps(request_of(spans, RESOURCE)).encode()


@pytest.fixture
def store(tmp_path: Path) -> SpanStore:
    return SpanStore(tmp_path / FILE)


def test_all_spans_of_an_images_traces_are_found_once(store: SpanStore) -> None:
    assert store.of_image("img_1") == []
    request = body_of(span(1), span(2, parent=f"{1:016x}", image="img_2"), span(3, "c", image="img_3"))
    store.add([b"no json", request, b'{"resourceSpans": [7]}', request])

    first, second = store.of_image("img_1")
    assert (first.name, first.parent_id, first.kind, first.function) == ("span 1", None, "consumer", "OnImageUploaded")
    assert (first.ended_ns - first.started_ns, first.attributes[STAGE]) == (9, "preprocess")
    assert first.links == (("b" * 32, f"{9:016x}"),)
    assert second.parent_id == first.span_id
    assert [kept.name for kept in store.of_trace("c" * 32)] == ["span 3"]


def test_requests_of_yesterday_and_too_many_are_deleted(store: SpanStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, age_s in enumerate((90_000, 3_600, 60, 0)):
        store.add([body_of(span(number))], NOW - age_s * 10**9)
    assert store.purge(NOW) == 1
    monkeypatch.setattr(module, "KEPT_SPANS", 2)
    assert store.purge(NOW) == 1
    assert [kept.name for kept in store.of_image("img_1")] == ["span 2", "span 3"]
    assert store.purge(NOW) == 0


def test_spans_of_another_exporter_are_found_too(store: SpanStore) -> None:
    document = json.loads(body_of(span(1)))
    (group,) = document["resourceSpans"]
    (kept,) = group["scopeSpans"][0]["spans"]
    kept["traceId"] = kept["traceId"].upper()
    kept["attributes"] = [dict(reversed(attribute.items())) for attribute in kept["attributes"]]
    store.add([json.dumps(document, indent=1).encode()])
    assert [found.name for found in store.of_image("img_1")] == ["span 1"]
    assert [found.name for found in store.of_trace("a" * 32)] == ["span 1"]


@pytest.fixture
def receiver(tmp_path: Path, socket_enabled: None) -> Iterator[TelemetryReceiver]:
    made = TelemetryReceiver(tmp_path / FILE, free_port())
    made.start()
    yield made
    made.stop()


def test_exported_spans_come_back_from_jaegers_query_api(receiver: TelemetryReceiver) -> None:
    export = OtlpExporter(receiver.url, RESOURCE, timeout_seconds=5)
    export([span(1)])
    export([span(2, parent=f"{1:016x}")])
    assert export.dropped == 0
    traces, deadline = JaegerTraces(receiver.url), time.monotonic() + 10
    while len(found := traces.of_image("img_1")) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [kept.name for kept in found] == ["span 1", "span 2"]
    assert {kept.function for kept in found} == {"OnImageUploaded"}
    assert traces.of_trace("a" * 32) == found
    assert traces.of_trace("f" * 32) == traces.of_image("img_9") == traces.of_trace("../etc") == []


@pytest.mark.parametrize(
    ("path", "headers", "body", "status"),
    [
        ("/v1/traces", {"Content-Type": "application/x-protobuf"}, b"\x0a", 415),
        ("/v1/logs", {"Content-Type": "application/json"}, b"{}", 404),
        ("/v1/traces", {"Content-Type": "application/json"}, b"not JSON", 200),
    ],
)
def test_what_is_no_export_is_refused_and_harms_nothing(
    receiver: TelemetryReceiver, path: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    answer = httpx.post(f"{receiver.url}{path}", headers=headers, content=body, trust_env=False)
    assert answer.status_code == status
    OtlpExporter(receiver.url, RESOURCE, timeout_seconds=5)([span(1)])
    deadline = time.monotonic() + 10
    while not JaegerTraces(receiver.url).of_image("img_1"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_request_that_is_too_large_is_refused_before_it_is_read(receiver: TelemetryReceiver) -> None:
    connection = HTTPConnection(receiver.url.removeprefix("http://"))
    connection.putrequest("POST", "/v1/traces")
    connection.putheader("Content-Length", "99999999")
    connection.endheaders()
    assert connection.getresponse().status == 413


@pytest.mark.parametrize(
    ("start", "end", "whole", "drawn"),
    [
        (0, 10, 10, "████"),
        (0, 0, 10, "█   "),
        (10, 10, 10, "   █"),
        (5, 10, 10, "  ██"),
        (0, 0, 0, "█   "),
    ],
)
def test_a_bar_shows_when_a_span_ran(start: int, end: int, whole: int, drawn: str) -> None:
    assert bar(start, end, whole, 4) == drawn


def test_a_waterfall_shows_each_span_below_its_parent(store: SpanStore) -> None:
    store.add([body_of(span(1), span(2, parent=f"{1:016x}"))])
    console = Console(width=160, record=True)
    console.print(waterfall("a" * 32, store.of_image("img_1")))
    printed = console.export_text()
    assert "trace " + "a" * 32 in printed
    assert "\n  span 2" in printed
    assert "stage=preprocess → " + "b" * 32 in printed


def test_the_command_prints_a_trace_or_says_that_there_is_none(
    store: SpanStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPLENS_STATE_DIR", str(tmp_path))
    assert "no spans of img_1 are kept" in deeplens("trace", "img_1").output
    store.add([body_of(span(1))])
    assert "span 1" in deeplens("trace", "img_1").output
    for arguments in (("img_1",), ("--trace", "a" * 32)):
        ended = deeplens("trace", *arguments, "--json")
        assert ended.exit_code == 0
        assert [view["name"] for view in json.loads(ended.output)["spans"]] == ["span 1"]
    assert deeplens("trace").exit_code == 1
    assert deeplens("trace", "img_1", "--trace", "a" * 32).exit_code == 1
