"""Receive spans and metrics as OTLP JSON over HTTP; answer Jaeger's query API and Prometheus.

https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

import json
import queue
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from deeplens.telemetry.conventions import IMAGE
from deeplens.traces.jaeger import document_of

from local.telemetry.metrics import MetricStore
from local.telemetry.store import SpanStore

TRACES, METRICS = "/v1/traces", "/v1/metrics"
MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_WAITING = 1000
"""Requests that wait to be written; what is more is refused."""
PURGE_SECONDS, GATHER_SECONDS = 600.0, 0.2


class TelemetryReceiver:
    """An HTTP server and a thread that writes; requests are answered before they are written.

    Parameters
    ----------
    path : the file of the spans.
    metrics : what ``/metrics`` shows.
    """

    def __init__(self, path: Path, port: int, metrics: MetricStore | None = None) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._store, self.port, self._metrics = SpanStore(path), port, metrics or MetricStore()
        self._waiting: queue.Queue[tuple[str, bytes] | None] = queue.Queue(MAX_WAITING)
        self._server: ThreadingHTTPServer | None = None
        self._writer: threading.Thread | None = None

    def start(self) -> None:
        self._store.purge()
        own = {"store": self._store, "waiting": self._waiting, "metrics": self._metrics}
        handler = type("Handler", (_Handler,), own)
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="telemetry receiver", daemon=True).start()
        self._writer = threading.Thread(target=self._write, name="telemetry writer", daemon=True)
        self._writer.start()

    def stop(self) -> None:
        """Write what was received, and stop."""
        if self._server is None or self._writer is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._server = None
        self._waiting.put(None)
        self._writer.join(5)

    def _write(self) -> None:
        purged_at, running = time.monotonic(), True
        while running:
            bodies = [self._waiting.get()]
            # Few transactions, as each costs more than the spans in it.
            time.sleep(GATHER_SECONDS if bodies[0] is not None else 0)
            with suppress(queue.Empty):
                while True:
                    bodies.append(self._waiting.get_nowait())
            running = None not in bodies
            received = list(filter(None, bodies))
            self._store.add(body for path, body in received if path == TRACES)
            for body in (body for path, body in received if path == METRICS):
                with suppress(ValueError, KeyError, TypeError, AttributeError):
                    self._metrics.add(json.loads(body))
            if time.monotonic() - purged_at > PURGE_SECONDS:
                self._store.purge()
                purged_at = time.monotonic()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: SpanStore
    metrics: MetricStore
    waiting: queue.Queue[tuple[str, bytes] | None]

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            self._answer(413, {"message": f"a request has at most {MAX_BODY_BYTES} bytes"})
            return
        body = self.rfile.read(int(length))
        if self.path not in (TRACES, METRICS):
            self._answer(404, {"message": f"only {TRACES} and {METRICS} are received"})
        elif "json" not in self.headers.get("Content-Type", ""):
            self._answer(415, {"message": "send OTLP as application/json (OTEL_EXPORTER_OTLP_PROTOCOL=http/json)"})
        else:
            try:
                self.waiting.put_nowait((self.path, body))
            except queue.Full:
                self._answer(429, {"message": "too many requests wait"})
            else:
                self._answer(200, {})

    def do_GET(self) -> None:
        """Answer ``/api/traces/{id}``, ``/api/traces?tags={"deeplens.image.id": …}`` and ``/metrics``."""
        address = urlsplit(self.path)
        prefix, _, trace_id = address.path.rpartition("/")
        if prefix == "/api/traces":
            self._answer(200, document_of(self.store.of_trace(trace_id)))
        elif address.path == "/api/traces":
            self._answer(200, document_of(self.store.of_image(_image_of(address.query))))
        elif address.path == "/metrics":
            self._send(200, *self.metrics.page(self.headers.get("Accept", "")))
        else:
            self._answer(404, {"message": "not found"})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        self._send(status, json.dumps(body).encode(), "application/json")

    def _send(self, status: int, content: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        # Headers and body in one write: two would wait for an acknowledgement.
        self._headers_buffer.append(b"\r\n" + content)  # type: ignore[attr-defined]
        self.flush_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _image_of(query: str) -> str:
    try:
        return str(json.loads(parse_qs(query)["tags"][0])[IMAGE])
    except (KeyError, ValueError, TypeError):
        return ""
