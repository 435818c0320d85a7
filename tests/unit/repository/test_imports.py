"""What a cold start imports, and who reads the environment; ``.importlinter`` holds the directions of imports."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

from local.runner.template import load

ROOT = Path(__file__).resolve().parents[3]
CORE = ROOT / "layers" / "core" / "deeplens"
HANDLERS = sorted((ROOT / "functions").glob("*/handler.py"))
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
    "on_schedule": {"cryptography"},
    "on_indexing_requested": {"qdrant_client"},
    "on_image_indexed": {"qdrant_client"},
    "on_image_maintenance": {"qdrant_client"},
}


def names_in(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    return {n.id for n in nodes if isinstance(n, ast.Name)} | {n.attr for n in nodes if isinstance(n, ast.Attribute)}


def test_only_settings_read_the_environment() -> None:
    names = {path: names_in(path) for path in [*CORE.rglob("*.py"), *HANDLERS]}
    assert [path for path, found in names.items() if found & {"environ", "environb", "getenv"}] == []
    assert [path.name for path, found in names.items() if "BaseSettings" in found] == ["settings.py"]


def imports_of(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Holds for imports for type checkers as well."""
    graph = grimp.build_graph("deeplens", "local", include_external_packages=False, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    # Take away, again and again, the modules that import none of the rest: only circles, and what needs them, remain.
    while free := {module for module, imported in imports.items() if not imported & imports.keys()}:
        imports = {module: imported for module, imported in imports.items() if module not in free}
    assert sorted(imports) == []


def test_handlers_import_only_deployed_code() -> None:
    for path in HANDLERS:
        assert {name.partition(".")[0] for name in imports_of(path)} <= {"deeplens", "mangum"}, path


def test_the_local_platform_imports_no_handler() -> None:
    found = {path: imports_of(path) for path in (ROOT / "local").rglob("*.py")}
    assert [
        path for path, names in found.items() if any(re.fullmatch(r"functions\..+\.handler", n) for n in names)
    ] == []


@pytest.mark.parametrize("name", [spec.name for spec in load(ROOT / "template.yaml", {}, {}).functions])
def test_a_cold_start_imports_only_what_the_function_uses(name: str) -> None:
    program = "import sys, handler; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    folder = ROOT / "functions" / name
    environment = {"PYTHONPATH": f"{folder}:{ROOT / 'layers' / 'core'}", "INFERENCE_URL": "http://127.0.0.1:9"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) & HEAVY <= ALLOWED_HEAVY.get(name, set())
