"""``deeplens upload`` sends files to the running stack, and resumes after Ctrl-C."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from deeplens.bootstrap.container import Container

from local.stack.stack import Stack
from tests.e2e.conftest import TenantClient, eventually, new_client, picture
from tests.e2e.test_direct_uploads import large

# A second running stack shares the end-to-end tests: most of their time is waiting.
pytestmark = pytest.mark.xdist_group("second stack")

# A shell's background jobs, as CI's are, do not hear Ctrl-C; this one does.
PROGRAM = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from local.cli.app import app; app()",
    "upload",
)
FILES = 60


@pytest.fixture(scope="module")
def importer(stack: Stack, parts: Container) -> TenantClient:
    return new_client(stack, parts, "tenant_importer", "nfs")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small images, a large one, one that is broken, and a text."""
    folder = tmp_path_factory.mktemp("photos")
    for n in range(FILES):
        place = folder / f"{n % 3}"
        place.mkdir(exist_ok=True)
        (place / f"{n}.jpg").write_bytes(picture(5000 + n, side=64))
    (folder / "large.bmp").write_bytes(large(5099))
    (folder / "broken.jpg").write_bytes(picture(5098)[:40])
    (folder / "notes.txt").write_text("no image")
    return folder


def run(stack: Stack, importer: TenantClient, folder: Path, *options: str) -> "subprocess.Popen[str]":
    given = {
        "DEEPLENS_URL": stack.api_url,
        "DEEPLENS_KEY": str(importer.http.headers["X-API-Key"]),
        "XDG_STATE_HOME": str(folder.parent / "state"),
        "COLUMNS": "160",
    }
    return subprocess.Popen(
        [sys.executable, "-c", *PROGRAM, str(folder), "-r", "--tag", "imported", *options],
        env=dict(os.environ) | given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def images(importer: TenantClient) -> int:
    return importer.parts.images.totals(importer.tenant).images


def test_a_folder_is_sent_interrupted_taken_up_and_then_known(
    stack: Stack, importer: TenantClient, folder: Path
) -> None:
    planned = run(stack, importer, folder, "--dry-run")
    assert f"{FILES + 2}" in planned.communicate(timeout=120)[0]
    assert (planned.returncode, images(importer)) == (0, 0)

    first = run(stack, importer, folder, "--workers", "1")
    eventually(lambda: images(importer), lambda count: count >= 5)
    first.send_signal(signal.SIGINT)
    interrupted = first.communicate(timeout=120)[0]
    assert first.returncode == 130, interrupted
    assert 5 <= images(importer) < FILES

    second = run(stack, importer, folder)
    output = second.communicate(timeout=240)[0]
    assert second.returncode == 1, output
    assert "broken.jpg: image-corrupt" in output
    # Folders are walked in no order: the first run may have come past the text.
    assert (interrupted + output).count("left out: 1 × not-an-image") == 1
    assert images(importer) == FILES + 1

    third = run(stack, importer, folder, "--again")
    output = third.communicate(timeout=120)[0]
    assert third.returncode == 1, output
    assert f"{FILES + 1}" in output
    assert images(importer) == FILES + 1

    found = importer.http.get("/images", params={"tag": "imported", "limit": 100}).json()["images"]
    assert len(found) == FILES + 1
    assert {"large.bmp", "0.jpg"} <= {image["fileName"] for image in found}


def test_a_bad_key_ends_at_once(stack: Stack, importer: TenantClient, folder: Path) -> None:
    bad = run(stack, importer, folder, "--again", "--key", "dl_000000000000_" + 48 * "0")
    output = bad.communicate(timeout=120)[0]
    assert (bad.returncode, "invalid-api-key" in output) == (2, True)
