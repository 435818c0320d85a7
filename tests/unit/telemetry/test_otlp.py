"""The exporter: OTLP JSON on the wire, and an invocation that goes on whatever the collector does."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from deeplens.telemetry.context import SpanContext
from deeplens.telemetry.conventions import ERROR_TYPE, IMAGE, OFFSET, Kind
from deeplens.telemetry.otlp import OtlpExporter, request_of
from deeplens.telemetry.tracing import Span

ROOT = Path(__file__).resolve().parents[3]
A, B = SpanContext("a" * 32, "1" * 16, ((IMAGE, "img_a"),)), SpanContext("b" * 32, "2" * 16, ((IMAGE, "img_b"),))
RESOURCE = {"service.name": "deeplens"}


def span() -> Span:
    attributes = {OFFSET: 7, ERROR_TYPE: "E", "file.name": "cat.jpg"}
    return Span("process t", Kind.CONSUMER, (A, B), ("", "9" * 16), attributes, [B], 1_000, 2_000)


def test_a_span_of_two_traces_is_exported_in_both_without_what_is_not_listed() -> None:
    (group,) = request_of([span()], RESOURCE)["resourceSpans"]
    first, second = group["scopeSpans"][0]["spans"]
    assert group["resource"]["attributes"] == [{"key": "service.name", "value": {"stringValue": "deeplens"}}]
    assert first == {
        "traceId": "a" * 32,
        "spanId": "1" * 16,
        "name": "process t",
        "kind": 5,
        "startTimeUnixNano": "1000",
        "endTimeUnixNano": "2000",
        "links": [{"traceId": "b" * 32, "spanId": "2" * 16}],
        "status": {"code": 2},
        "attributes": [
            {"key": "messaging.kafka.offset", "value": {"intValue": "7"}},
            {"key": "error.type", "value": {"stringValue": "E"}},
            {"key": "deeplens.image.id", "value": {"stringValue": "img_a"}},
        ],
    }
    assert (second["traceId"], second["parentSpanId"]) == ("b" * 32, "9" * 16)


class Collector(BaseHTTPRequestHandler):
    """Answers with ``status`` after ``delay`` seconds; keeps connections open."""

    protocol_version = "HTTP/1.1"
    received: list[dict[str, object]]
    status, delay = 200, 0.0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(self.delay)
        self.received.append({"path": self.path, **json.loads(body)})
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector(socket_enabled: None) -> Iterator[tuple[type[Collector], str]]:
    handler = type("Own", (Collector,), {"received": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield handler, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_spans_arrive(collector: tuple[type[Collector], str]) -> None:
    handler, url = collector
    export = OtlpExporter(url, RESOURCE)
    export([span()])
    export([span()])
    assert [answer["path"] for answer in handler.received] == ["/v1/traces", "/v1/traces"]
    assert export.dropped == 0


@pytest.mark.parametrize("broken", ["status", "slow", "gone", "garbage"])
def test_a_collector_that_fails_costs_at_most_half_a_second_once_in_a_while(
    collector: tuple[type[Collector], str], broken: str
) -> None:
    handler, url = collector
    now = [100.0]
    if broken == "status":
        handler.status = 503
    if broken == "slow":
        handler.delay = 0.6
    if broken == "gone":
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    spans = [span()]
    if broken == "garbage":
        spans[0].attributes[OFFSET] = object()  # type: ignore[assignment]
    export = OtlpExporter(url, RESOURCE, monotonic=lambda: now[0])
    started = time.monotonic()
    export(spans)
    export([span()])
    assert time.monotonic() - started < 0.5
    assert export.dropped == 2
    now[0] += 31
    handler.status, handler.delay = 200, 0.0
    export([span()])
    assert export.dropped == (3 if broken == "gone" else 2)


def test_where_no_endpoint_is_set_nothing_of_the_exporter_is_imported() -> None:
    program = (
        "import sys; from deeplens.settings import Settings;"
        "from deeplens.bootstrap.telemetry import configure_telemetry;"
        "from deeplens.telemetry import tracing; configure_telemetry(Settings());"
        "print('deeplens.telemetry.otlp' in sys.modules, tracing.enabled())"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(ROOT / "layers" / "core")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == ["False", "False"]
