"""Import direction: shared code knows no function and no platform; stages know no vendor; few know the environment."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.runner.template import load

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "layers" / "core" / "deeplens"
SOURCES = sorted(CORE.rglob("*.py"))
VENDORS = {
    "boto3",
    "botocore",
    "confluent_kafka",
    "fastapi",
    "psycopg",
    "sqlalchemy",
    "qdrant_client",
    "httpx",
    "mangum",
}
ADAPTERS = ("deeplens.db", "deeplens.storage", "deeplens.kafka")
OWNERS = {
    "qdrant_client": {"vectors"},
    "confluent_kafka": {"kafka"},
    "psycopg": {"auth", "db", "tenants.py"},
    "sqlalchemy": {"db"},
    "alembic": {"db"},
    "fastapi": {"api"},
    "PIL": {"imaging"},
    "onnxruntime": set(),
}
HEAVY = {"qdrant_client", "sqlalchemy", "alembic", "fastapi", "PIL", "onnxruntime", "skimage"}
ALLOWED_HEAVY = {
    "search_api": {"fastapi"},
    "on_image_uploaded": {"PIL"},
    "on_indexing_requested": {"qdrant_client"},
    "on_image_maintenance": {"qdrant_client"},
}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def packages(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(CORE)))
def test_shared_code_imports_no_function_platform_or_test(path: Path) -> None:
    assert not packages(path) & {"functions", "local", "tests"}


@pytest.mark.parametrize("path", sorted((CORE / "pipeline").glob("*.py")), ids=lambda path: path.name)
def test_stages_know_ports_and_not_vendors(path: Path) -> None:
    assert not packages(path) & (VENDORS | {"os"})
    assert not {name for name in imported(path) if name.startswith(ADAPTERS)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(CORE)))
def test_a_vendor_is_imported_only_where_it_is_adapted(path: Path) -> None:
    owner = path.relative_to(CORE).parts[0]
    assert not {package for package in packages(path) if owner not in OWNERS.get(package, {owner})}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(CORE)))
def test_only_settings_read_the_environment(path: Path) -> None:
    if path.name != "settings.py":
        assert "os.environ" not in path.read_text()
        assert "os.getenv" not in path.read_text()


@pytest.mark.parametrize("name", [spec.name for spec in load(ROOT / "template.yaml", {}, {}).functions])
def test_a_cold_start_imports_only_what_the_function_uses(name: str) -> None:
    program = "import sys, handler; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    folder = ROOT / "functions" / name
    environment = {"PYTHONPATH": f"{folder}:{ROOT / 'layers' / 'core'}", "INFERENCE_URL": "http://127.0.0.1:9"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) & HEAVY <= ALLOWED_HEAVY.get(name, set())
