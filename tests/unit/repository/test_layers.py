"""A function's layers contain what it imports and fit into Lambda's limits; a cold start imports only what it uses."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import distribution, packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from local.runner.template import FunctionSpec, load
from tests.harness import handler_import_server

ROOT = Path(__file__).resolve().parents[3]
FUNCTIONS = load(ROOT / "template.yaml", {}, {}).functions
MAX_BYTES = 250 * 1024 * 1024
LAMBDA_PACKAGES = {"boto3", "botocore", "s3transfer", "jmespath", "python-dateutil", "six", "urllib3"}
UNDEPLOYED = ["localstack_client"]
"""Imported only if AWS_ENDPOINT_URL is set, as on a development machine."""
PACKAGES = packages_distributions()
ENVIRONMENT = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/deeplens_platform",
    "KAFKA_BROKERS": "127.0.0.1:9",
    "KAFKA_SECURITY": "IAM",
    "QDRANT_URL": "https://127.0.0.1:9",
    "PGSSLMODE": "verify-full",
    "PGSSLROOTCERT": __file__,
    "INFERENCE_ENDPOINT_NAME": "deeplens",
    "PYTHONPATH": str(ROOT / "layers" / "core"),
}
HEAVY = {
    "azure",
    "requests",
    "qdrant_client",
    "sqlalchemy",
    "alembic",
    "authlib",
    "cryptography",
    "fastapi",
    "PIL",
    "av",
    "onnxruntime",
    "skimage",
}
ALLOWED_HEAVY = {
    "search_api": {"fastapi"},
    "admin_api": {"fastapi"},
    "whatsapp_webhook": {"fastapi"},
    "identity_api": {"authlib", "cryptography", "fastapi"},
    "on_image_uploaded": {"PIL"},
    "on_object_created": {"PIL"},
    "on_video_uploaded": {"PIL", "av"},
    "on_administration_schedule": {"cryptography"},
    "on_indexing_requested": {"qdrant_client"},
    "on_image_indexed": {"qdrant_client"},
    "on_image_maintenance": {"qdrant_client"},
}


def installed(requirements: list[str], present: set[str]) -> set[str]:
    """Return the distributions that the requirements need, without those that are present already."""
    needed: set[tuple[str, str]] = set()
    waiting = [Requirement(line) for line in requirements]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras} if name not in present else ():
            if (name, extra) in needed:
                continue
            needed.add((name, extra))
            lines = [Requirement(line) for line in distribution(name).requires or []]
            waiting += [line for line in lines if line.marker is None or line.marker.evaluate({"extra": extra})]
    return {name for name, _ in needed}


@cache
def contents(layer: Path) -> frozenset[str]:
    if not (layer / "requirements.txt").exists():
        return frozenset()
    present = re.search(r"^PRESENT := (.+)$", (layer / "Makefile").read_text(), re.M)
    lines = (layer / "requirements.txt").read_text().split()
    return frozenset(installed(lines, set(present[1].split()) if present else set()))


@cache
def size(name: str) -> int:
    files = [Path(str(file.locate())) for file in distribution(name).files or []]
    return sum(file.stat().st_size for file in files if file.exists() and file.suffix != ".pyc")


in_one_process = pytest.mark.xdist_group("handler imports")
type ImportHandler = Callable[[FunctionSpec], dict[str, Any]]


@pytest.fixture(scope="module")
def import_handler() -> Iterator[ImportHandler]:
    """Import each handler once, in a fork of one process."""
    server = subprocess.Popen(
        [sys.executable, "-P", handler_import_server.__file__],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    assert server.stdin is not None
    assert server.stdout is not None
    requests, answers = server.stdin, server.stdout
    results: dict[str, dict[str, Any]] = {}

    def ask(spec: FunctionSpec) -> dict[str, Any]:
        if spec.name not in results:
            request = {"code": str(spec.code), "absent": absent_packages(spec), "undeployed": UNDEPLOYED}
            requests.write(json.dumps(request) + "\n")
            requests.flush()
            results[spec.name] = json.loads(answers.readline())
        return results[spec.name]

    yield ask
    server.communicate()


def absent_packages(spec: FunctionSpec) -> list[str]:
    """Return the installed packages that the function's layers do not contain."""
    present = LAMBDA_PACKAGES.union(*map(contents, spec.layers))
    return [
        package
        for package, names in PACKAGES.items()
        if not present & {canonicalize_name(name) for name in names} and package not in ("deeplens", "local")
    ]


@in_one_process
@pytest.mark.parametrize("spec", FUNCTIONS, ids=lambda spec: spec.name)
def test_a_functions_layers_contain_what_it_imports(spec: FunctionSpec, import_handler: ImportHandler) -> None:
    assert import_handler(spec)["error"] == ""


@in_one_process
@pytest.mark.parametrize("spec", FUNCTIONS, ids=lambda spec: spec.name)
def test_a_cold_start_imports_only_what_the_function_uses(spec: FunctionSpec, import_handler: ImportHandler) -> None:
    result = import_handler(spec)
    loaded = set(result["modules"])
    assert "deeplens" in loaded, result["error"]
    assert loaded & HEAVY <= ALLOWED_HEAVY.get(spec.name, set())


@pytest.mark.parametrize("spec", FUNCTIONS, ids=lambda spec: spec.name)
def test_a_functions_layers_fit_into_lambda(spec: FunctionSpec) -> None:
    assert len(spec.layers) <= 5
    assert sum(size(name) for layer in spec.layers for name in contents(layer)) < 0.92 * MAX_BYTES


def test_layers_hold_only_what_the_project_locks() -> None:
    locked = {canonicalize_name(Requirement(line).name) for line in distribution("deeplens").requires or []}
    named = {
        canonicalize_name(Requirement(line).name)
        for path in (ROOT / "layers").glob("*/requirements.txt")
        for line in path.read_text().split()
    }
    assert named <= locked


def test_a_layer_folder_without_requirements_is_our_own_code() -> None:
    folders = {layer for spec in FUNCTIONS for layer in spec.layers}
    assert {layer.name for layer in folders if not (layer / "requirements.txt").exists()} == {"core"}
