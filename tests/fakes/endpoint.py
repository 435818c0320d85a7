"""A container that answers what a test tells it to: for failures that a healthy one does not show."""

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class StubEndpoint:
    """Attributes say what every request is answered; ``silent`` answers nothing until ``close``."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    silent: bool = False

    def __post_init__(self) -> None:
        self.released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"stub": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.status, self.body = status, body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stub: StubEndpoint

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.stub.silent:
            self.stub.released.wait(20)
            self.close_connection = True
            return
        self.send_response(self.stub.status)
        for name, value in {**self.stub.headers, "Content-Length": str(len(self.stub.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.stub.body)

    def log_message(self, *_: object) -> None:
        return
