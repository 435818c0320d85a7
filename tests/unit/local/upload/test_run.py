"""``deeplens upload`` sends each new file once, and resumes an interrupted run."""

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from local.cli import upload
from local.cli.app import app
from local.upload import sender
from local.upload.client import Api
from local.upload.files import find_files, total
from local.upload.journal import Journal
from local.upload.run import Run
from local.upload.sender import Sender
from tests.harness.api import MP4_HEAD, picture


class Server:
    """An API server for uploads; ``refuse`` may answer in its place."""

    def __init__(self) -> None:
        self.images: dict[str, str] = {}
        self.keys: Counter[str] = Counter()
        self.asked: list[str] = []
        self.refuse: Callable[[httpx.Request], httpx.Response | None] = lambda _: None
        self._lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            self.asked.append(request.url.path)
            if (answer := self.refuse(request)) is not None:
                return answer
            if request.url.path == "/v1/images/check":
                return self._check(request)
            return self._image(request)

    def _check(self, request: httpx.Request) -> httpx.Response:
        asked = json.loads(request.content)["sha256"]
        known = [
            {"sha256": one, "imageId": self.images[one], "status": "completed"} for one in asked if one in self.images
        ]
        return httpx.Response(200, json={"known": known, "new": []})

    def _image(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        start = body.index(b"\r\n\r\n", body.index(b'filename="')) + 4
        digest = hashlib.sha256(body[start : body.index(b"\r\n--", start)]).hexdigest()
        self.keys[request.headers["idempotency-key"]] += 1
        self.images.setdefault(digest, f"img_{len(self.images)}")
        return httpx.Response(202, json={"imageId": self.images[digest]})


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"type": f"/problems/{code}", "detail": "because"}, headers=headers)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write seven images, two of which are equal, a text, and an image in a subfolder."""
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    for seed in range(6):
        (folder / f"{seed}.jpg").write_bytes(picture(seed))
    (folder / "twin.jpg").write_bytes(picture(0))
    (folder / "notes.txt").write_text("no image")
    (folder / "below" / "deep.jpg").write_bytes(picture(99))
    (folder / ".hidden.jpg").write_bytes(picture(98))
    return folder


class Importer:
    """Upload with a separate journal."""

    def __init__(self, server: Server, path: Path) -> None:
        self.stopping, self.path, self._server = threading.Event(), path, server
        self.seen = 0

    def __call__(self, folder: Path, *, stop_after: int = 10**9, **options: Any) -> tuple[Run, dict[str, int]]:
        self.stopping.clear()
        journal = Journal(self.path)
        api = Api("http://api", self.stopping, {"X-API-Key": "k"}, None, 4, httpx.MockTransport(self._server))
        self.seen = 0

        def progress(_: Any) -> None:
            self.seen += 1
            if self.seen >= stop_after:
                self.stopping.set()

        dry_run, recursive = options.pop("dry_run", False), options.pop("recursive", True)
        run = Run(
            Sender(api, journal, ["sea"], dry_run=dry_run), journal, progress, self.stopping, workers=3, **options
        )
        run(find_files([folder], recursive=recursive), batch_files=2)
        counts = journal.counts()
        journal.close()
        return run, counts


@pytest.fixture
def importer(server: Server, tmp_path: Path) -> Importer:
    return Importer(server, tmp_path / "journal.sqlite")


def test_each_new_file_is_sent_once(server: Server, importer: Importer, folder: Path) -> None:
    _, counts = importer(folder)
    assert counts == {"sent": 7, "same": 1, "skipped": 1}
    assert len(server.images) == 7
    assert set(server.keys.values()) == {1}


def test_subfolders_are_sent_only_with_recursive(importer: Importer, folder: Path) -> None:
    _, counts = importer(folder, recursive=False)
    assert counts == {"sent": 6, "same": 1, "skipped": 1}
    assert total([folder], recursive=True)[0] == total([folder], recursive=False)[0] + 1 == 9


def test_a_file_that_the_server_has_is_not_sent(server: Server, importer: Importer, folder: Path) -> None:
    server.images[hashlib.sha256(picture(3)).hexdigest()] = "img_known"
    _, counts = importer(folder)
    assert counts == {"sent": 6, "same": 1, "skipped": 1, "known": 1}


def test_a_second_run_sends_no_request(server: Server, importer: Importer, folder: Path) -> None:
    importer(folder)
    server.asked.clear()
    run, counts = importer(folder)
    assert (counts, run.done_before, server.asked) == ({}, 9, [])
    (folder / "5.jpg").write_bytes(picture(50))
    _, counts = importer(folder)
    assert counts == {"sent": 1}


def test_the_option_again_ignores_the_journal(importer: Importer, folder: Path) -> None:
    importer(folder)
    _, counts = importer(folder, resume=False)
    assert counts == {"known": 8, "skipped": 1}


def test_an_interrupted_run_resumes_and_sends_no_file_twice(server: Server, importer: Importer, folder: Path) -> None:
    _, first = importer(folder, stop_after=3)
    assert sum(first.values()) < 9
    run, second = importer(folder)
    assert len(server.images) == 7
    assert sum(second.values()) + run.done_before == 9
    assert set(server.keys.values()) == {1}


def test_a_file_whose_answer_was_lost_keeps_its_idempotency_key(
    server: Server, importer: Importer, folder: Path
) -> None:
    # Of equal files in flight, one alone is sent again.
    (folder / "twin.jpg").unlink()
    genuine, lost = server._image, []

    def lose(request: httpx.Request) -> httpx.Response:
        genuine(request)
        lost.append(request.headers["idempotency-key"])
        importer.stopping.set()
        raise httpx.ReadError("gone")

    server._image = lose  # type: ignore[method-assign]
    importer(folder)
    server._image = genuine  # type: ignore[method-assign]
    server.refuse = lambda r: httpx.Response(200, json={"known": [], "new": []}) if "check" in r.url.path else None
    importer(folder)
    assert lost
    assert all(server.keys[key] == 2 for key in lost)


def test_a_refused_file_does_not_stop_the_others(server: Server, importer: Importer, folder: Path) -> None:
    def refuse(request: httpx.Request) -> httpx.Response | None:
        if request.url.path == "/v1/images" and b'filename="2.jpg"' in request.read():
            return problem(422, "image-corrupt")
        return None

    server.refuse = refuse
    _, counts = importer(folder)
    assert counts == {"sent": 6, "same": 1, "skipped": 1, "failed": 1}
    server.refuse = lambda _: None
    _, counts = importer(folder)
    assert counts == {"sent": 1}


def test_bad_credentials_end_the_run(server: Server, importer: Importer, folder: Path) -> None:
    server.refuse = lambda _: problem(401, "invalid-api-key")
    run, counts = importer(folder)
    assert run.fatal
    assert run.fatal.code == "invalid-api-key"
    assert "sent" not in counts


@pytest.mark.parametrize("status", [429, 503])
def test_transient_errors_are_retried(
    server: Server, importer: Importer, folder: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(Api, "wait", lambda _, seconds: waits.append(seconds))
    times = Counter[str]()

    def refuse(request: httpx.Request) -> httpx.Response | None:
        times[request.url.path] += 1
        return problem(status, "later", **{"Retry-After": "7"}) if times[request.url.path] <= 2 else None

    server.refuse = refuse
    _, counts = importer(folder)
    assert counts == {"sent": 7, "same": 1, "skipped": 1}
    assert waits == [7.0] * 4


def test_a_dry_run_sends_nothing(server: Server, importer: Importer, folder: Path) -> None:
    _, counts = importer(folder, dry_run=True)
    assert counts == {"sending": 7, "same": 1, "skipped": 1}
    assert set(server.asked) == {"/v1/images/check"}


@pytest.fixture
def cli(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    class Answered(Api):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given, transport=httpx.MockTransport(server))

    monkeypatch.setattr(upload, "Api", Answered)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "160")

    def call(*arguments: str, key: str = "dl_abc_def") -> Any:
        return CliRunner().invoke(app, ["upload", *arguments], env={"DEEPLENS_KEY": key})

    return call


def test_the_summary_counts_files_by_state_and_reason(cli: Callable[..., Any], folder: Path) -> None:
    named = folder.parent / "named.txt"
    named.write_text("no image either")
    done = cli(str(folder), str(named), "--tag", "sea")
    assert done.exit_code == 1
    assert "sent" in done.output
    assert f"{named}: not-an-image: neither image nor video" in done.output


def test_the_exit_status_is_0_after_success_and_2_after_bad_credentials(
    cli: Callable[..., Any], server: Server, folder: Path
) -> None:
    assert cli(str(folder), "-r", "--dry-run").exit_code == 0
    assert cli(str(folder), "-r").exit_code == 0
    assert cli(str(folder), "-r", key="").exit_code == 2
    server.refuse = lambda _: problem(401, "invalid-api-key")
    done = cli(str(folder), "-r", "--again")
    assert (done.exit_code, "invalid-api-key" in done.output) == (2, True)


def test_callers_have_journals_of_their_own() -> None:
    places = {upload.default_journal(url, who) for url in ("http://a", "http://b") for who in ("x", "y")}
    assert len(places) == 4


@pytest.mark.parametrize(
    ("name", "body", "small", "became"),
    [
        ("a.jpg", picture(1), 100, {"imageId": "img_1"}),
        ("a", MP4_HEAD * 9, 1 << 20, {"imageId": None, "videoId": "vid_1"}),
    ],
    ids=["large", "video"],
)
def test_a_large_file_and_any_video_goes_to_the_store(
    server: Server,
    importer: Importer,
    tmp_path: Path,
    monkeypatch: Any,
    name: str,
    body: bytes,
    small: int,
    became: Any,
) -> None:
    monkeypatch.setattr(sender, "MAX_REQUEST_BYTES", small)
    monkeypatch.setattr(sender, "POLL_SECONDS", 0.001)
    parts = dict[str, bytes]()
    links = {"links": {"image": "/v1/images/img_1"}}
    polls = [{"status": "open"}, {"status": "ingested"} | became | links, {"status": "completed"}]
    size = 64

    def answer(request: httpx.Request) -> httpx.Response | None:
        path = request.url.path
        if path == "/v1/images/check":
            return None
        if request.url.host == "store":
            assert "x-api-key" not in request.headers
            parts[path] = request.read()
            return httpx.Response(200)
        if path == "/v1/uploads":
            plan = {"partBytes": size, "parts": -(-len(body) // size)}
            link = {"self": "/v1/uploads/upl_1"}
            return httpx.Response(201, json={"status": "open", "multipart": plan, "form": None, "links": link})
        if path == "/v1/uploads/upl_1/parts" and request.method == "GET":
            return httpx.Response(200, json={"missing": list(range(1, -(-len(body) // size) + 1))})
        if path == "/v1/uploads/upl_1/parts":
            (number,) = json.loads(request.content)["partNumbers"]
            left = min(size, len(body) - (number - 1) * size)
            one = {"url": f"http://store/{number:04}", "sizeBytes": left}
            return httpx.Response(200, json={"parts": [one]})
        return httpx.Response(202, json=polls.pop(0) if request.method == "GET" else {})

    server.refuse = answer
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / name).write_bytes(body)

    _, counts = importer(folder)

    assert counts == {"sent": 1}
    assert b"".join(parts[name] for name in sorted(parts)) == body
