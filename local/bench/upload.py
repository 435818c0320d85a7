"""``deeplens upload`` of thousands of files, interrupted and resumed: its rate and peak memory, beside bare requests.

The bare loop posts files by as many threads over kept connections: no hashing, no journal, no question what is known.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.progress import track

from local.bench.stack import Bench, bench_stack
from local.cli.screen import console
from local.demo.photos import bench_photos
from local.services import ServiceFailed

WORKERS, INTERRUPTED_AFTER = 8, 0.4
PROGRAM = """
import signal, sys
from pathlib import Path
# A process that was started in the background ignores Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
from local.cli.app import app
try:
    app()
finally:
    print(Path("/proc/self/status").read_text(), file=sys.stderr)
"""
"""The high-water mark of its own memory; that of ``getrusage`` begins with what its parent held."""


def bench_upload(count: int = 5_000, bare: int = 400) -> dict[str, float | int | str]:
    """Flat figures; raises ``ServiceFailed`` if a file is missing or there twice at the end.

    Parameters
    ----------
    count, bare : files of the upload, and of the bare loop.
    """
    with tempfile.TemporaryDirectory(prefix="deeplens-files-") as name, bench_stack() as bench:
        few, many = Path(name) / "few", Path(name) / "many"
        bare_seconds = _bare_loop(bench, _write(few, many, count, bare))
        state = Path(name) / "journal"
        _, few_peak, _ = _upload(bench, few, state)
        before = bench.container.images.totals(bench.tenant).images
        first_seconds, first_peak, code = _upload(bench, many, state, until=before + int(INTERRUPTED_AFTER * count))
        interrupted_at = bench.container.images.totals(bench.tenant).images - before
        if code != 128 + signal.SIGINT:
            raise ServiceFailed(f"the interrupted upload ended with {code}")
        rest_seconds, rest_peak, _ = _upload(bench, many, state)
        again_seconds, _, _ = _upload(bench, many, state / "new")
        there = bench.container.images.totals(bench.tenant).images - before
    if there != count:
        raise ServiceFailed(f"{there} of {count} files are there")
    rate = count / (first_seconds + rest_seconds)
    return {
        "files": count,
        "interrupted_at": interrupted_at,
        "files_per_s": rate,
        "bare_files_per_s": bare / bare_seconds,
        "ratio": rate * bare_seconds / bare,
        "known_files_per_s": count / again_seconds,
        "peak_mib": max(first_peak, rest_peak),
        f"peak_mib_of_{count // 10}_files": few_peak,
    }


def _write(few: Path, many: Path, count: int, bare: int) -> list[bytes]:
    """A tenth of the files in one folder, all others in folders of a hundred; returns those of the bare loop."""
    total, bodies = count // 10 + count + bare, list[bytes]()
    for number, photo in enumerate(track(bench_photos(total), "making files", total, console=console)):
        if number < bare:
            bodies.append(_unlike(photo.body, number))
            continue
        folder = few if number < bare + count // 10 else many / f"{number // 100:04}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.jpg").write_bytes(_unlike(photo.body, number))
    return bodies


def _unlike(jpeg: bytes, number: int) -> bytes:
    """The same picture with a comment: crops of flat photos would be one file."""
    return jpeg[:2] + b"\xff\xfe\x00\x0a" + f"{number:08}".encode() + jpeg[2:]


def _bare_loop(bench: Bench, bodies: list[bytes]) -> float:
    def post(body: bytes) -> int:
        return bench.http.post("/images", files={"file": ("a.jpg", body)}).status_code

    started = time.monotonic()
    with ThreadPoolExecutor(WORKERS) as senders:
        if {*track(senders.map(post, bodies), "bare requests", len(bodies), console=console)} != {202}:
            raise ServiceFailed("an upload was refused")
    return time.monotonic() - started


def _upload(bench: Bench, folder: Path, state: Path, until: int | None = None) -> tuple[float, float, int]:
    """Seconds, peak MiB and exit status of one run; Ctrl-C when the tenant has ``until`` images."""
    key = bench.http.headers["X-API-Key"]
    environment = os.environ | {"DEEPLENS_URL": bench.stack.api_url, "DEEPLENS_KEY": key, "XDG_STATE_HOME": str(state)}
    arguments = [sys.executable, "-c", PROGRAM, "upload", str(folder), "--recursive", "--workers", str(WORKERS)]
    started = time.monotonic()
    with console.status(f"deeplens upload {folder.name}"), tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen(arguments, env=environment, stdout=told, stderr=told)
        while until is not None and process.poll() is None:
            if bench.container.images.totals(bench.tenant).images >= until:
                process.send_signal(signal.SIGINT)
                break
            time.sleep(0.02)
        code = process.wait()
        seconds = time.monotonic() - started
        told.seek(0)
        text = told.read()
    if until is None and code != 0:
        raise ServiceFailed(f"deeplens upload ended with {code}:\n{text[-2000:]}")
    peak = re.search(r"VmHWM:\s+(\d+) kB", text)
    return seconds, int(peak[1]) / 1024 if peak else float("nan"), code
