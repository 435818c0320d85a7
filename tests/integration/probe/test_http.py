"""The prober's client of the API: what it sends, and that any other answer than the expected one is a failure."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from deeplens.probe.http import HttpProbedApi
from deeplens.probe.model import ProbeFailed


@dataclass
class Answering:
    """A server that gives one answer to everything."""

    url: str = ""
    status: int = 200
    body: bytes = b"{}"
    requests: list[tuple[str, str, bytes]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Answering]:
    made = Answering()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            made.requests.append((f"{self.command} {self.path}", self.headers["X-API-Key"], body))
            self.send_response(made.status)
            self.send_header("Content-Length", str(len(made.body)))
            if made.status == 302:
                self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(made.body)

        do_GET = do_DELETE = do_POST

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{listening.server_address[1]}"
    thread = threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    listening.shutdown()
    listening.server_close()
    thread.join()


def test_a_file_is_uploaded_with_the_key_and_the_tag(server: Answering) -> None:
    server.status, server.body = 202, b'{"imageId": "img_1"}'

    assert HttpProbedApi(server.url + "/", "dl_key").upload(b"PNG bytes") == "img_1"

    ((request, key, body),) = server.requests
    assert (request, key) == ("POST /v1/images", "dl_key")
    assert b"PNG bytes" in body
    assert b"deeplens-probe" in body


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (503, b'{"type": "https://deeplens.dev/problems/database-unavailable"}', "503 database-unavailable"),
        (401, b"[]", "GET /v1/images/img_1 was answered with 401"),
        (302, b"", "was answered with 302"),
        (200, b"<html>", "GET /v1/images/img_1: ValueError"),
        (200, b'["completed"]', "has no status"),
        (200, b'{"state": "completed"}', "has no status"),
    ],
)
def test_any_other_answer_is_a_failure(server: Answering, status: int, body: bytes, message: str) -> None:
    server.status, server.body = status, body

    with pytest.raises(ProbeFailed) as failed:
        HttpProbedApi(server.url, "dl_secret").status("img_1")

    assert message in str(failed.value)
    assert "dl_secret" not in str(failed.value)
    assert len(server.requests) == 1


def test_no_answer_is_a_failure() -> None:
    with pytest.raises(ProbeFailed, match="DELETE /v1/images/img_1: NewConnectionError"):
        HttpProbedApi("http://127.0.0.1:1", "dl_secret").delete("img_1")


def test_without_a_key_nothing_is_sent(server: Answering) -> None:
    with pytest.raises(ProbeFailed, match="has no API key"):
        HttpProbedApi(server.url, "").search(b"")

    assert server.requests == []
