"""Imports between modules, and the readers of the environment; ``.importlinter`` defines the directions of imports."""

import ast
import re
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[3]
CORE = ROOT / "layers" / "core" / "deeplens"
HANDLERS = sorted((ROOT / "functions").glob("*/handler.py"))


def names_in(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    return {n.id for n in nodes if isinstance(n, ast.Name)} | {n.attr for n in nodes if isinstance(n, ast.Attribute)}


def test_only_settings_read_the_environment() -> None:
    names = {path: names_in(path) for path in [*CORE.rglob("*.py"), *HANDLERS]}
    assert [path for path, used in names.items() if used & {"environ", "environb", "getenv"}] == []
    assert [path.name for path, used in names.items() if "BaseSettings" in used] == ["settings.py"]


def imports_of(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports for type checkers count as well."""
    graph = grimp.build_graph("deeplens", "local", include_external_packages=False, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    # Remove modules that import none of the rest until none is left: circles, and what imports them, remain.
    while free := {module for module, imported in imports.items() if not imported & imports.keys()}:
        imports = {module: imported for module, imported in imports.items() if module not in free}
    assert sorted(imports) == []


def test_handlers_import_only_deployed_code() -> None:
    for path in HANDLERS:
        assert {name.partition(".")[0] for name in imports_of(path)} <= {"deeplens", "mangum"}, path


def test_the_local_platform_imports_no_handler() -> None:
    imports = {path: imports_of(path) for path in (ROOT / "local").rglob("*.py")}
    assert [
        path for path, names in imports.items() if any(re.fullmatch(r"functions\..+\.handler", n) for n in names)
    ] == []
