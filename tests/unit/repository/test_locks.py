"""Whatever is installed for a deployment, or fetched to run here, has a version and hashes that are stored."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[3]
INFERENCE = ROOT / "functions" / "inference_endpoint"
LOCKS = {
    INFERENCE / "requirements.lock": INFERENCE / "requirements.txt",
    INFERENCE / "requirements-gpu.lock": INFERENCE / "requirements.txt",
    ROOT / "local" / "setup" / "localstack.lock": ROOT / "local" / "setup" / "localstack.txt",
}


def locked(path: Path) -> dict[str, str]:
    """Versions by package. Raises ``AssertionError`` for one without a hash."""
    entries = re.findall(
        r"^([a-z0-9][^ ;\n]*)((?: ;[^\n]*?)?)((?: \\\n    --hash=sha256:[0-9a-f]{64})*)$", path.read_text(), re.M
    )
    assert all(hashes for _, _, hashes in entries)
    return {canonicalize_name(name): version for name, _, version in (entry.partition("==") for entry, _, _ in entries)}


@pytest.mark.parametrize(("lock", "required"), LOCKS.items(), ids=lambda path: path.name)
def test_a_lock_has_a_version_and_hashes_of_all_that_is_required(lock: Path, required: Path) -> None:
    versions = locked(lock)
    assert all(versions.values())
    assert len(versions) == len(re.findall(r"^[a-z0-9]", lock.read_text(), re.M))
    for line in required.read_text().split():
        requirement = Requirement(line)
        name = (
            "onnxruntime-gpu" if lock.stem.endswith("gpu") and requirement.name == "onnxruntime" else requirement.name
        )
        assert requirement.specifier.contains(versions[canonicalize_name(name)]), line


@pytest.mark.parametrize("lock", [path for path in LOCKS if path.parent == INFERENCE], ids=lambda path: path.name)
def test_the_container_has_the_versions_that_are_tested(lock: Path) -> None:
    packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    tested = {package["name"]: package["version"] for package in packages}
    # CUDA comes with onnxruntime-gpu there, and with torch here.
    versions = {name: version for name, version in locked(lock).items() if name in tested and "nvidia" not in name}
    assert versions == {name: tested[name] for name in versions}
    assert {"pillow", "numpy", "starlette", "uvicorn"} <= versions.keys()


def test_nothing_is_installed_without_hashes() -> None:
    for path in (ROOT / "layers" / "layer.mk", INFERENCE / "Dockerfile", ROOT / "local" / "services" / "localstack.py"):
        installing = re.findall(r"pip[\", ]+install", path.read_text())
        assert len(installing) == path.read_text().count("--require-hashes") == 1, path
    assert re.search(r"^FROM python:3\.13-slim@\$\{BASE_DIGEST\}$", (INFERENCE / "Dockerfile").read_text(), re.M)
    assert not re.search(r"^ARG BASE_DIGEST=", (INFERENCE / "Dockerfile").read_text(), re.M)
