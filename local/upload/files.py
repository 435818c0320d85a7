"""Find files to send, hash each once, and detect its kind by the first bytes."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from deeplens.formats.kinds import HEAD_BYTES, Kind, kind_of

CHUNK_BYTES = 1 << 20


def found(paths: Sequence[Path], *, recursive: bool) -> Iterator[tuple[str, bool]]:
    """Absolute paths in a stable order, and whether each was named itself. Links to folders are not followed."""
    for path in paths:
        if path.is_dir():
            for one in _within(str(path.absolute()), recursive=recursive):
                yield one, False
        else:
            yield str(path.absolute()), True


def _within(folder: str, *, recursive: bool) -> Iterator[str]:
    """A folder's files, then those of the folders in it; memory holds the names of one folder per level."""
    folders = []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            if entry.name.startswith("."):
                continue
            if entry.is_file():
                yield entry.path
            elif entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
    if recursive:
        for one in folders:
            yield from _within(one, recursive=True)


def total(paths: Sequence[Path], *, recursive: bool) -> tuple[int, int]:
    """Return the number and bytes of files, to estimate the remaining time."""
    count = size = 0
    for path, _ in found(paths, recursive=recursive):
        count += 1
        try:
            size += os.stat(path).st_size  # noqa: PTH116 - a Path per file costs more than the call
        except OSError:
            continue
    return count, size


def printable(text: str) -> str:
    """A name as text: bytes that are no UTF-8 become question marks. Only the system knows a file by them."""
    return text.encode("utf-8", "replace").decode()


def digest_and_kind(path: str) -> tuple[str, Kind]:
    """SHA-256 of the file in hex, and what it is. Raises ``OSError``."""
    digest, head = hashlib.sha256(), b""
    with Path(path).open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            head = head or chunk[:HEAD_BYTES]
            digest.update(chunk)
    return digest.hexdigest(), kind_of(head)


def kind_at(path: str) -> Kind:
    """What a file is. Raises ``OSError``."""
    with Path(path).open("rb") as file:
        return kind_of(file.read(HEAD_BYTES))
