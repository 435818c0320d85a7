"""A function's layers hold every package that it imports, and fit into what Lambda allows."""

import re
import subprocess
import sys
from functools import cache
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from local.runner.template import FunctionSpec, load

ROOT = Path(__file__).resolve().parents[3]
FUNCTIONS = load(ROOT / "template.yaml", {}, {}).functions
MAX_BYTES = 250 * 1024 * 1024
LAMBDA_HAS = {"boto3", "botocore", "s3transfer", "jmespath", "python-dateutil", "six", "urllib3"}
UNDEPLOYED = {"localstack_client"}
"""Imported only where AWS_ENDPOINT_URL is set: on one machine."""
PACKAGES = packages_distributions()
DEPLOYED = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/deeplens_platform",
    "KAFKA_BROKERS": "127.0.0.1:9",
    "KAFKA_SECURITY": "IAM",
    "QDRANT_URL": "http://127.0.0.1:9",
    "INFERENCE_ENDPOINT_NAME": "deeplens",
}
IMPORT_ALL = """
import ast, importlib, sys
absent, undeployed = (set(argument.split()) for argument in sys.argv[1:])

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"no layer of this function holds {name}")

sys.meta_path.insert(0, Absent())
import handler

def later(module):
    for function in ast.walk(ast.parse(open(module.__file__).read())):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    yield from (alias.name for alias in node.names)
                elif isinstance(node, ast.ImportFrom):
                    yield node.module

EVERYTHING = {"deeplens.bootstrap.container"}
ours = [m for n, m in sys.modules.items() if n.startswith("deeplens.") and n not in EVERYTHING]
for name in [name for module in ours for name in later(module)]:
    if name.partition(".")[0] not in undeployed:
        importlib.import_module(name)
"""


def installed(requirements: list[str], present: set[str]) -> set[str]:
    """Distributions that the requirements bring, without those that are there already."""
    found: set[tuple[str, str]] = set()
    waiting = [Requirement(line) for line in requirements]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        for extra in {"", *wanted.extras} if name not in present else ():
            if (name, extra) in found:
                continue
            found.add((name, extra))
            parts = [Requirement(line) for line in distribution(name).requires or []]
            waiting += [part for part in parts if part.marker is None or part.marker.evaluate({"extra": extra})]
    return {name for name, _ in found}


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


@pytest.mark.parametrize("spec", FUNCTIONS, ids=lambda spec: spec.name)
def test_a_functions_layers_hold_what_it_imports(spec: FunctionSpec) -> None:
    held = LAMBDA_HAS.union(*map(contents, spec.layers))
    absent = [
        package
        for package, names in PACKAGES.items()
        if not held & {canonicalize_name(name) for name in names} and package not in ("deeplens", "local")
    ]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, " ".join(absent), " ".join(UNDEPLOYED)],
        env={**DEPLOYED, "PYTHONPATH": f"{spec.code}:{ROOT / 'layers' / 'core'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


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
