"""The exporter: OTLP JSON on the wire, and an invocation that goes on whatever the collector does."""

import hashlib
import hmac
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
from botocore.credentials import Credentials
from deeplens.aws.signing import signer
from deeplens.bootstrap.telemetry import configure_spans
from deeplens.settings import Settings
from deeplens.telemetry import tracing
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
    requests: list[tuple[dict[str, str], bytes]]
    status, delay = 200, 0.0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(self.delay)
        self.received.append({"path": self.path, **json.loads(body)})
        self.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector(socket_enabled: None) -> Iterator[tuple[type[Collector], str]]:
    handler = type("Own", (Collector,), {"received": [], "requests": []})
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


def signature_of(headers: dict[str, str], host: str, body: bytes, secret: str, region: str) -> str:
    """Signature Version 4 of a POST of ``/v1/traces``, from the headers that it came with."""
    moment = headers["x-amz-date"]
    canonical = {"content-type": headers["content-type"], "host": host, "x-amz-date": moment}
    lines = "".join(f"{name}:{value}\n" for name, value in canonical.items())
    request = f"POST\n/v1/traces\n\n{lines}\n{';'.join(canonical)}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{moment[:8]}/{region}/xray/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def test_a_request_to_cloudwatch_is_signed(collector: tuple[type[Collector], str]) -> None:
    handler, url = collector
    sign = signer("xray", "eu-central-1", Credentials("AKIA", "hidden"))
    OtlpExporter(url, RESOURCE, sign=sign)([span()])
    (headers, body) = handler.requests[0]
    assert "Credential=AKIA/" in headers["authorization"]
    expected = signature_of(headers, url.removeprefix("http://"), body, "hidden", "eu-central-1")
    assert headers["authorization"].endswith(f"Signature={expected}")
    assert len(handler.received) == 1


@pytest.mark.parametrize(
    ("endpoint", "region"),
    [
        ("https://xray.eu-central-1.amazonaws.com", "eu-central-1"),
        ("https://xray.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("https://xray.eu-central-1.amazonaws.com.evil.test", None),
        ("https://collector.test/xray.eu-central-1.amazonaws.com", None),
        ("http://localhost:4318", None),
    ],
)
def test_only_requests_to_cloudwatch_are_signed(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, region: str | None
) -> None:
    signed: list[str] = []
    monkeypatch.setattr("deeplens.aws.signing.signer", lambda service, given: signed.append(f"{service} {given}"))
    configure_spans(Settings(otel_exporter_otlp_endpoint=endpoint))
    tracing.configure(None)
    assert signed == ([f"xray {region}"] if region else [])


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
