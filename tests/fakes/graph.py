"""Meta's Graph API on this machine: files by id, messages that were sent, and answers that tests choose."""

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ACCESS_TOKEN, APP_SECRET, VERIFY_TOKEN = "graph access token", "graph app secret", "graph verify token"
EXPIRED = {"error": {"message": "Unsupported get request. Object does not exist", "code": 100, "error_subcode": 33}}


class GraphDouble:
    """Behaves as the Cloud API does, on plain HTTP.

    Attributes
    ----------
    files : by media id; others do not exist.
    sizes : what is said of a file's size, where that is not the truth.
    expired : media ids whose addresses answer with a status, e.g. 401.
    refusals : status and body that the next messages are answered with, by recipient.
    """

    def __init__(self) -> None:
        self.url = ""
        self.files: dict[str, bytes] = {}
        self.sizes: dict[str, int] = {}
        self.expired: dict[str, int] = {}
        self.refusals: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        self.sent: list[dict[str, Any]] = []
        self.looked_up: list[str] = []

    def told(self, recipient: str) -> list[str]:
        return [message["text"]["body"] for message in self.sent if message["to"] == recipient]

    def get(self, path: str) -> tuple[int, bytes]:
        kind, _, media_id = path.strip("/").partition("/")
        if kind == "files":
            status = self.expired.get(media_id, 200)
            return status, self.files.get(media_id, b"") if status == 200 else b""
        self.looked_up.append(media_id)
        if media_id not in self.files:
            return 400 if media_id.startswith("unknown") else 404, json.dumps(EXPIRED).encode()
        size = self.sizes.get(media_id, len(self.files[media_id]))
        about = {"url": f"{self.url}/files/{media_id}", "file_size": size, "id": media_id}
        return 200, json.dumps(about).encode()

    def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        message = json.loads(body)
        assert path == "/v1/106540352242922/messages", path
        if waiting := self.refusals.get(message["to"]):
            status, answer = waiting.pop(0)
            return status, json.dumps(answer).encode()
        self.sent.append(message)
        return 200, json.dumps({"messages": [{"id": f"wamid.out{len(self.sent)}"}]}).encode()


def signed(body: bytes) -> dict[str, str]:
    """What Meta sends with a body."""
    digest = hmac.new(APP_SECRET.encode(), body, hashlib.sha256).hexdigest()
    return {"X-Hub-Signature-256": f"sha256={digest}", "Content-Type": "application/json"}


@contextmanager
def graph_double() -> Iterator[GraphDouble]:
    made = GraphDouble()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(self._refused() or made.get(self.path))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(self._refused() or made.post(self.path, body))

        def _refused(self) -> tuple[int, bytes] | None:
            known = self.headers["Authorization"] == f"Bearer {ACCESS_TOKEN}"
            return None if known else (401, json.dumps({"error": {"message": "Invalid token", "code": 190}}).encode())

        def _answer(self, answer: tuple[int, bytes]) -> None:
            status, body = answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
