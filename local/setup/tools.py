"""Fetching a tool once per checkout, also when several stacks start at the same time."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


class FetchFailed(Exception):
    """A tool could not be fetched; the message says what happened."""


def folder_of(tools_dir: Path, name: str, recipe: str) -> Path:
    """Where the tool that ``recipe`` makes lies: another version is another folder, so an update is fetched."""
    return tools_dir.absolute() / f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}"


def once(target: Path, make: Callable[[Path], None]) -> None:
    """Make the directory ``target`` unless it is there; it appears whole or not at all."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            return
        making = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        try:
            make(making)
            making.rename(target)
        finally:
            shutil.rmtree(making, ignore_errors=True)


def find_uv() -> str:
    """The ``uv`` that the Makefile used, or any on the path."""
    own = REPOSITORY / ".tools" / "uv" / "bin" / "uv"
    found = os.environ.get("UV") or (str(own) if own.exists() else shutil.which("uv"))
    if not found:
        raise FetchFailed("uv was not found. Run `make up`, which installs it, or install uv yourself.")
    return found
