"""Azure Blob on one machine: Azurite, fetched once beside its locked packages."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from local.services.process import free_port
from local.setup.tools import REPOSITORY, make_once, tool_folder

SOURCE = Path(__file__).parents[1] / "e2e" / "azurite"
COMMANDS = Path(sys.executable).parent
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's own, which everybody knows."""


@contextmanager
def azurite(folder: Path) -> Iterator[str]:
    """The endpoint of an account on a new Azurite."""
    packages = tool_folder(REPOSITORY / ".tools", "azurite", (SOURCE / "package-lock.json").read_text())
    make_once(packages, _fetch)
    port = free_port()
    command = [COMMANDS / "node", packages / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"]
    options = ["--blobPort", str(port), "--location", str(folder), "--silent", "--skipApiVersionCheck"]
    # ``node`` here starts the real one: only their group as a whole ends both.
    process = subprocess.Popen(
        [*command, *options, "--disableTelemetry"], stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        retrying = httpx.HTTPTransport(retries=8)
        with httpx.Client(transport=retrying, trust_env=False, timeout=30) as client:
            assert client.get(f"http://127.0.0.1:{port}/{ACCOUNT}?comp=list").status_code in (400, 403)
        yield f"http://127.0.0.1:{port}/{ACCOUNT}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)


def _fetch(target: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(SOURCE / name, target)
    path = os.pathsep.join([str(COMMANDS), os.environ.get("PATH", "")])
    command = [COMMANDS / "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(command, cwd=target, env={**os.environ, "PATH": path}, check=True, timeout=240)
