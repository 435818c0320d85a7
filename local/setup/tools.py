"""Fetch a tool once per checkout, also if several stacks start at the same time."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


class FetchFailed(Exception):
    """A tool could not be fetched; the message says what happened."""


def tool_folder(tools_dir: Path, name: str, recipe: str) -> Path:
    """Return the folder of a tool. It depends on the ``recipe``, so that a changed version is fetched again."""
    return tools_dir.absolute() / f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}"


def make_once(target: Path, make: Callable[[Path], None]) -> None:
    """Create the directory ``target`` with ``make`` unless it exists; it appears complete or not at all."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            return
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        try:
            make(draft)
            draft.rename(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def find_uv() -> str:
    """Return the ``uv`` that the Makefile uses, or one on the path. Raises ``FetchFailed`` if there is none."""
    installed = REPOSITORY / ".tools" / "uv" / "bin" / "uv"
    uv = os.environ.get("UV") or (str(installed) if installed.exists() else shutil.which("uv"))
    if not uv:
        raise FetchFailed("uv was not found. Run `make up`, which installs it, or install uv yourself.")
    return uv
