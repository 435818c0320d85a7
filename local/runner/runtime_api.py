"""Serve the Lambda Runtime API to one function process.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import queue
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

MAX_PAYLOAD_BYTES = 6 * 1024 * 1024
"""Lambda's limit of an event and of a response."""
PREFIX = "/2018-06-01/runtime/"


@dataclass(frozen=True, slots=True)
class Invocation:
    """An event for a function."""

    payload: bytes
    deadline: float
    """Epoch seconds."""
    id: str = field(default_factory=lambda: str(uuid4()))


@dataclass(frozen=True, slots=True)
class Answer:
    """A function's response, or the JSON of its error with ``errorType`` and ``errorMessage``."""

    payload: bytes
    failed: bool = False


class RuntimeApi:
    """Serve one process on its own port, so that the port identifies the process."""

    def __init__(self, function_arn: str) -> None:
        self.function_arn = function_arn
        self.ready = threading.Event()
        self.invocations: queue.SimpleQueue[Invocation | None] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._server = _Server(self)
        threading.Thread(target=self._server.serve, name="runtime-api", daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.invocations.put(None)
        self._server.end()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, api: RuntimeApi) -> None:
        self.api = api
        super().__init__(("127.0.0.1", 0), _Requests)

    def serve(self) -> None:
        """Accept connections until ``end``; ``serve_forever`` would poll, and take half a second to stop."""
        with suppress(OSError):
            while True:
                self.process_request(*self.get_request())
        self.server_close()

    def end(self) -> None:
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore connections that ending processes reset."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        connection, address = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, address


class _Requests(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    rbufsize = 1 << 16
    server: _Server

    def do_GET(self) -> None:
        if self.path != f"{PREFIX}invocation/next":
            self._respond(404, b"{}")
            return
        api = self.server.api
        api.ready.set()
        invocation = api.invocations.get()
        if invocation is None:
            self.close_connection = True
            return
        headers = (
            f"Lambda-Runtime-Aws-Request-Id: {invocation.id}\r\n"
            f"Lambda-Runtime-Deadline-Ms: {int(invocation.deadline * 1000)}\r\n"
            f"Lambda-Runtime-Invoked-Function-Arn: {api.function_arn}\r\n"
            f"Lambda-Runtime-Trace-Id: Root=1-{int(time.time()):08x}-{invocation.id.replace('-', '')[:24]}\r\n"
        )
        self._respond(200, invocation.payload, headers)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        failed = not self.path.endswith("/response")
        if not failed and len(body) > MAX_PAYLOAD_BYTES:
            message = f"Response payload size of {len(body)} bytes exceeded the maximum of {MAX_PAYLOAD_BYTES} bytes."
            body, failed = _error("Function.ResponseSizeTooLarge", message), True
        # Respond to the process first, so that it asks for the next event before the caller has the result.
        self._respond(202, b'{"status":"OK"}')
        self.server.api.answers.put(Answer(body, failed))

    def _respond(self, status: int, body: bytes, headers: str = "") -> None:
        """Send head and body in one write: two writes cost 40 ms because of delayed TCP acknowledgements."""
        head = f"HTTP/1.1 {status} OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        try:
            self.wfile.write(head.encode() + body)
        except ConnectionError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: ARG002
        return


def _error(kind: str, message: str) -> bytes:
    return f'{{"errorType":"{kind}","errorMessage":"{message}"}}'.encode()
