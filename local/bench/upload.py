"""Measure rate and peak memory of ``deeplens upload`` with an interruption, and compare with bare requests.

The bare loop posts files with as many threads over persistent connections, without hashing, journal or duplicate check.
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

WORKERS = 8
INTERRUPTED_AFTER = 0.4
"""Share of the files after which the upload is interrupted."""
PROGRAM = """
import signal, sys
from pathlib import Path
# A process that was started in the background ignores SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)
from local.cli.app import app
try:
    app()
finally:
    print(Path("/proc/self/status").read_text(), file=sys.stderr)
"""
"""Program that runs the CLI and prints its peak memory; ``getrusage`` would include the parent's memory."""


def bench_upload(count: int = 5_000, bare: int = 400) -> dict[str, float | int | str]:
    """Measure the upload and return flat figures. Raises ``ServiceFailed`` if a file is missing or duplicated.

    Parameters
    ----------
    count, bare : number of files of the upload, and of the bare loop.
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
            raise ServiceFailed(f"the interrupted upload ended with status {code}")
        rest_seconds, rest_peak, _ = _upload(bench, many, state)
        again_seconds, _, _ = _upload(bench, many, state / "new")
        stored = bench.container.images.totals(bench.tenant).images - before
    if stored != count:
        raise ServiceFailed(f"{stored} images were stored for {count} files")
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
    """Write a tenth of the files to one folder, the others to folders of a hundred; return those of the bare loop."""
    total, bodies = count // 10 + count + bare, list[bytes]()
    for number, photo in enumerate(track(bench_photos(total), "making files", total, console=console)):
        if number < bare:
            bodies.append(_with_comment(photo.body, number))
            continue
        folder = few if number < bare + count // 10 else many / f"{number // 100:04}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.jpg").write_bytes(_with_comment(photo.body, number))
    return bodies


def _with_comment(jpeg: bytes, number: int) -> bytes:
    """Add a comment, so that equal crops of plain photos become different files."""
    return jpeg[:2] + b"\xff\xfe\x00\x0a" + f"{number:08}".encode() + jpeg[2:]


def _bare_loop(bench: Bench, bodies: list[bytes]) -> float:
    def post(body: bytes) -> int:
        return bench.http.post("/images", files={"file": ("a.jpg", body)}).status_code

    started = time.monotonic()
    with ThreadPoolExecutor(WORKERS) as senders:
        if {*track(senders.map(post, bodies), "bare requests", len(bodies), console=console)} != {202}:
            raise ServiceFailed("the API refused an upload")
    return time.monotonic() - started


def _upload(bench: Bench, folder: Path, state: Path, until: int | None = None) -> tuple[float, float, int]:
    """Run once, interrupt when the tenant has ``until`` images; return seconds, peak MiB and exit status."""
    key = bench.http.headers["X-API-Key"]
    environment = os.environ | {"DEEPLENS_URL": bench.stack.api_url, "DEEPLENS_KEY": key, "XDG_STATE_HOME": str(state)}
    arguments = [sys.executable, "-c", PROGRAM, "upload", str(folder), "--recursive", "--workers", str(WORKERS)]
    started = time.monotonic()
    with console.status(f"deeplens upload {folder.name}"), tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(arguments, env=environment, stdout=output, stderr=output)
        while until is not None and process.poll() is None:
            if bench.container.images.totals(bench.tenant).images >= until:
                process.send_signal(signal.SIGINT)
                break
            time.sleep(0.02)
        code = process.wait()
        seconds = time.monotonic() - started
        output.seek(0)
        text = output.read()
    if until is None and code != 0:
        raise ServiceFailed(f"deeplens upload ended with status {code}:\n{text[-2000:]}")
    peak = re.search(r"VmHWM:\s+(\d+) kB", text)
    return seconds, int(peak[1]) / 1024 if peak else float("nan"), code
