"""Build a Go program once per checkout, from modules whose checksums stand in its ``go.sum``."""

import shutil
import subprocess
from pathlib import Path

from local.setup.tools import FetchFailed, make_once, tool_folder

BUILD = ("build", "-mod=readonly", "-trimpath", "-ldflags=-s -w")


def go_program(tools_dir: Path, name: str) -> Path:
    """Return the program that ``local/setup/NAME/go.mod`` has as its tool; the first build takes minutes.

    Raises ``FetchFailed`` without Go, or if a module is not there.
    """
    module = Path(__file__).with_name(name)
    recipe = "".join((module / file).read_text() for file in ("go.mod", "go.sum"))
    folder = tool_folder(tools_dir, name, recipe)
    make_once(folder, lambda target: _build(module, target))
    return folder / name


def _build(module: Path, target: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise FetchFailed("Go was not found. Install it from https://go.dev/dl, or your system's package `golang`.")
    command = [go, *BUILD, "-o", f"{target}/", "tool"]
    ended = subprocess.run(command, cwd=module, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise FetchFailed(f"{module.name} was not built: {ended.stderr[-1000:]}")
