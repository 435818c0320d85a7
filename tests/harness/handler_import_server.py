"""Import handlers, each in a fork of a process that has imported only what every handler may import.

Each line of standard input is a request: ``{"code": FOLDER, "absent": [PACKAGE…], "undeployed": [PACKAGE…]}``. The
answer is a line with ``modules``, all packages that the import of ``handler`` loaded, and ``error``, a traceback or
empty. After the handler, the fork imports what functions of its modules import when they run. Packages in ``absent``
cannot be imported, and those in ``undeployed`` are skipped.
"""

import ast
import importlib
import json
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

PRELOADED = ("boto3", "pydantic_settings")
"""Packages that most handlers import. Those that wrap a library in C are left out: a fork might break them."""
OPTIONAL_OF_PRELOADED = {"OpenSSL"}
"""botocore imports it where it is installed, and it loads ``cryptography``; layers without it have neither."""
IMPORT_EVERYTHING = {"deeplens.bootstrap.container"}
"""Modules that name all adapters, of which a function uses a few."""


class AbsentPackages(MetaPathFinder):
    """Refuse packages as if no layer of the function contained them."""

    def __init__(self, packages: set[str]) -> None:
        self._packages = packages

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        if name.partition(".")[0] in self._packages:
            raise ModuleNotFoundError(f"no layer of this function contains {name}")


def packages() -> list[str]:
    return sorted({name.partition(".")[0] for name in sys.modules})


def late_imports(module: ModuleType) -> Iterator[str]:
    """Yield the modules that functions of ``module`` import when they run."""
    tree = ast.parse(Path(module.__file__ or "").read_text())
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    yield from (alias.name for alias in node.names)
                elif isinstance(node, ast.ImportFrom):
                    yield node.module or ""


def import_handler(code: str, absent: set[str], undeployed: set[str]) -> list[str]:
    """Import a handler and its late imports; return the packages that the handler alone loaded."""
    for name in [name for name in list(sys.modules) if name.partition(".")[0] in absent]:
        del sys.modules[name]
    sys.meta_path.insert(0, AbsentPackages(absent))
    sys.path.insert(0, code)
    importlib.import_module("handler")
    loaded = packages()
    # A copy: threads of packages import as well.
    modules = list(sys.modules.items())
    own = [module for name, module in modules if name.startswith("deeplens.") and name not in IMPORT_EVERYTHING]
    for name in [name for module in own for name in late_imports(module)]:
        if name.partition(".")[0] not in undeployed:
            importlib.import_module(name)
    return loaded


def answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        loaded = import_handler(request["code"], set(request["absent"]), set(request["undeployed"]))
    except BaseException:
        return {"modules": [], "error": traceback.format_exc()}
    return {"modules": loaded, "error": ""}


def main() -> None:
    absent = AbsentPackages(OPTIONAL_OF_PRELOADED)
    sys.meta_path.insert(0, absent)
    for name in PRELOADED:
        importlib.import_module(name)
    sys.meta_path.remove(absent)
    for line in sys.stdin:
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.write(writer, json.dumps(answer(json.loads(line))).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            text = pipe.read()
        _, status = os.wait()
        ended = {
            "modules": [],
            "error": f"the import ended the process with status {os.waitstatus_to_exitcode(status)}",
        }
        sys.stdout.write(f"{text or json.dumps(ended)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
