"""``deeplens upload`` handles unusual names, pipes, broken journals, and files that fail after they were accepted."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.cli import main
from local.upload import sender
from local.upload.journal import Entry, Journal
from tests.harness.api import picture
from tests.unit.local.upload.test_run import Importer, Server, cli, folder, importer, server

__all__ = ["cli", "folder", "importer", "server"]
ODD = b"bad\xff.jpg"


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / os.fsdecode(ODD)).write_bytes(picture(1))
    return folder


def test_a_name_that_is_not_utf8_is_sent_once(server: Server, importer: Importer, odd: Path) -> None:
    names: list[bool] = []

    def look(request: httpx.Request) -> None:
        if request.url.path == "/v1/images":
            names.append(b'filename="bad?.jpg"' in request.read())

    server.refuse = look
    assert importer(odd)[1] == {"sent": 1}
    run, counts = importer(odd)
    assert (run.done_before, counts, names) == (1, {}, [True])


def test_a_name_that_is_not_utf8_can_be_printed(cli: Callable[..., Any], odd: Path) -> None:
    (odd / os.fsdecode(ODD)).write_bytes(b"no image")
    done = cli(str(odd / os.fsdecode(ODD)))
    assert done.exit_code == 1
    assert "bad?.jpg: not-an-image" in done.output


def test_a_journal_returns_paths_unchanged(tmp_path: Path) -> None:
    path, other = os.fsdecode(b"/" + ODD), "/b.jpg"
    journal = Journal(tmp_path / "journal.sqlite")
    journal.save(Entry(path, 1, 2, sha256="a", state="sent"))
    journal.save(Entry(other, 1, 2, sha256="b", state="failed", code="x", reason=path))
    assert journal.find(path) == Entry(path, 1, 2, sha256="a", state="sent")
    assert journal.file_with_same_bytes("a", other) == path
    assert [entry.reason for entry in journal.failures(9)] == ["/bad?.jpg"]
    journal.close()


@pytest.mark.timeout(30)
def test_a_pipe_fails_at_once(cli: Callable[..., Any], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    done = cli(str(tmp_path / "pipe.jpg"))
    assert done.exit_code == 1
    assert "pipe.jpg: not-a-file" in done.output


def test_a_journal_that_cannot_be_opened_is_an_error(cli: Callable[..., Any], odd: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = cli(str(odd), "--journal", str(tmp_path / "file" / "journal.sqlite"))
    assert done.exit_code == 2
    assert "cannot open the journal" in done.output
    assert isinstance(done.exception, SystemExit)


def test_the_summary_explains_that_sent_means_accepted(cli: Callable[..., Any], odd: Path) -> None:
    done = cli(str(odd))
    assert done.exit_code == 0
    assert "GET /v1/images?status=failed" in done.output


def test_an_interrupt_during_startup_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("local.cli.app.app", interrupted)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 130


class Store:
    """Return a server's upload that was accepted and became ``image``."""

    def __init__(self, image: dict[str, Any]) -> None:
        self.image, self.keys = image, list[str]()

    def __call__(self, request: httpx.Request) -> httpx.Response | None:
        if request.url.path == "/v1/images/check":
            return None
        upload = {"status": "ingested", "imageId": "img_1", "videoId": None}
        if request.method == "POST":
            self.keys.append(request.headers["idempotency-key"])
        links = {"self": "/v1/uploads/upl_1", "image": "/v1/images/img_1", "video": None}
        found = self.image if request.url.path == links["image"] else upload | {"links": links}
        return httpx.Response(200, json=found)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(sender, "PROCESSING_TIMEOUT_SECONDS", 0.01)


def test_a_large_file_that_fails_in_processing_has_failed_in_every_run(
    server: Server, importer: Importer, odd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "MAX_REQUEST_BYTES", 1)
    server.refuse = Store({"status": "failed", "error": {"code": "DECODE_FAILED", "message": "no"}})
    assert importer(odd)[1] == {"failed": 1}
    assert importer(odd)[1] == {"failed": 1}


def test_a_large_file_still_being_processed_is_asked_for_by_the_next_run(
    server: Server, importer: Importer, odd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "MAX_REQUEST_BYTES", 1)
    server.refuse = store = Store({"status": "extracted"})
    assert importer(odd)[1] == {"sent": 1}
    store.image = {"status": "failed", "error": {"code": "DECODE_FAILED", "message": "no"}}
    assert importer(odd)[1] == {"failed": 1}
    assert len(set(store.keys)) == 1
