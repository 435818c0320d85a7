"""The OpenTelemetry Collector itself, built from its modules, with the configuration that the containers have."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
import yaml

from local.services.process import free_port

FOLDER = Path(__file__).resolve().parents[4] / "local" / "observability"
PROGRAM = FOLDER.parents[1] / ".tools" / "otelcol" / "otelcol"
ERROR = 2
DECIDED_SECONDS = 60
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def program() -> Path:
    """The collector with the parts that the configuration names."""
    if shutil.which("go") is None:
        pytest.skip("Go is missing: install it to try the collector's configuration")
    build = ["go", "build", "-p", "1", "-o", str(PROGRAM), "."]
    ended = subprocess.run(build, cwd=FOLDER / "otelcol", capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return PROGRAM


class Received(list[tuple[str, dict[str, Any]]]):
    """What the collector sent on: path and OTLP of each request."""

    def spans(self) -> list[dict[str, Any]]:
        documents = [document for path, document in self if path.endswith("/v1/traces")]
        return [
            span
            for document in documents
            for resource in document["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]

    def logs(self) -> list[dict[str, Any]]:
        documents = [document for path, document in self if path.endswith("/v1/logs")]
        return [
            record
            for document in documents
            for resource in document["resourceLogs"]
            for scope in resource["scopeLogs"]
            for record in scope["logRecords"]
        ]


@contextmanager
def receiving() -> Iterator[tuple[str, Received]]:
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", received
    server.shutdown()
    server.server_close()
    thread.join()


def configured(sink: str, ports: dict[str, int]) -> dict[str, Any]:
    """The configuration with free ports, JSON that this test can read, no chance, and a decision after a second."""
    text = (FOLDER / "collector.yaml").read_text()
    for port, own in ports.items():
        text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{own}")
    document: dict[str, Any] = yaml.safe_load(text)
    document["service"]["telemetry"]["metrics"] = {"level": "none"}
    document["processors"]["tail_sampling"]["decision_wait"] = "1s"
    for policy in document["processors"]["tail_sampling"]["policies"]:
        if policy["name"] == "rest":
            policy["probabilistic"]["sampling_percentage"] = 0
    for exporter in document["exporters"].values():
        exporter |= {"endpoint": sink, "encoding": "json", "compression": "none"}
    return document


@contextmanager
def collecting(program: Path, folder: Path) -> Iterator[tuple[str, Received]]:
    """A running collector: the address of its receiver, and what it sends on."""
    ports = {port: free_port() for port in ("4317", "4320", "13133")}
    with receiving() as (sink, received):
        path = folder / "collector.yaml"
        path.write_text(yaml.safe_dump(configured(sink, ports)))
        environment = {**os.environ, "DEEPLENS_LOGS": str(folder)}
        with (folder / "collector.log").open("wb") as log:
            process = subprocess.Popen([str(program), "--config", str(path)], env=environment, stdout=log, stderr=log)
        try:
            output = (folder / "collector.log").read_text
            until(lambda: answers(f"http://127.0.0.1:{ports['13133']}") and "Started watching file" in output(), output)
            yield f"http://127.0.0.1:{ports['4320']}", received
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def until(holds: Any, explain: Any) -> None:
    deadline = time.monotonic() + DECIDED_SECONDS
    while not holds():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.1)


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except URLError:
        return False


def send(url: str, number: int, seconds: float = 0.1, status: int = 0, **attributes: int) -> str:
    """Send a trace of one span; returns its id."""
    trace_id, now = f"{number:032x}", time.time_ns()
    span = {
        "traceId": trace_id,
        "spanId": f"{number:016x}",
        "name": "process deeplens.images.uploaded",
        "kind": 5,
        "startTimeUnixNano": str(now - int(seconds * 1e9)),
        "endTimeUnixNano": str(now),
        "attributes": [
            {"key": name.replace("_", "."), "value": {"intValue": str(value)}} for name, value in attributes.items()
        ],
        "status": {"code": status},
    }
    body = {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {"name": "deeplens"}, "spans": [span]}]}]}
    request = Request(f"{url}/v1/traces", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=10) as answer:
        assert answer.status == 200
    return trace_id


def test_the_collector_accepts_the_configuration_of_the_containers(program: Path) -> None:
    command = [str(program), "validate", "--config", str(FOLDER / "collector.yaml")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr


def test_traces_with_errors_retries_and_slow_ones_are_kept_and_logs_arrive_with_their_trace(
    program: Path, tmp_path: Path
) -> None:
    log = tmp_path / "functions" / "on_image_uploaded.log"
    log.parent.mkdir()
    log.write_text("a line from before the collector's start\n")
    line = {
        "level": "WARNING",
        "message": "record waits",
        "timestamp": "2026-11-20 10:30:00,123+0000",
        "trace_id": f"{1:032x}",
        "span_id": f"{1:016x}",
        "tenant_id": "tenant_acme",
    }
    with collecting(program, tmp_path) as (url, received):
        kept = {send(url, 1, status=ERROR), send(url, 2, seconds=6), send(url, 3, deeplens_attempt=2)}
        send(url, 4)
        send(url, 5, deeplens_attempt=1)
        with log.open("a") as written:
            written.write(f"{json.dumps(line)}\nTraceback of an interpreter\n")
        explain = lambda: f"{received} {(tmp_path / 'collector.log').read_text()}"  # noqa: E731
        until(lambda: len(received.spans()) >= len(kept) and len(received.logs()) >= 2, explain)

    assert {span["traceId"] for span in received.spans()} == kept
    first, second = received.logs()
    assert (first["traceId"], first["spanId"], first["severityText"]) == (f"{1:032x}", f"{1:016x}", "WARNING")
    fields = {attribute["key"]: attribute["value"].get("stringValue") for attribute in first["attributes"]}
    assert fields["tenant_id"] == "tenant_acme"
    assert fields["log.file.name"] == "on_image_uploaded.log"
    assert second["body"]["stringValue"] == "Traceback of an interpreter"
