"""Find the files to send, hash them, and detect their kind by the first bytes."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from deeplens.formats.videos import HEAD_BYTES, Kind, kind_of

CHUNK_BYTES = 1 << 20


def find_files(paths: Sequence[Path], *, recursive: bool) -> Iterator[tuple[str, bool]]:
    """Yield absolute paths in a stable order, and whether the user named the file itself.

    Links to folders are not followed.
    """
    for path in paths:
        if path.is_dir():
            for file in _files_in(str(path.absolute()), recursive=recursive):
                yield file, False
        else:
            yield str(path.absolute()), True


def _files_in(folder: str, *, recursive: bool) -> Iterator[str]:
    """Yield a folder's files, then those of its subfolders; memory holds the names of one folder per level."""
    folders = []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            if entry.is_file():
                yield entry.path
            elif entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
    if recursive:
        for subfolder in folders:
            yield from _files_in(subfolder, recursive=True)


def total(paths: Sequence[Path], *, recursive: bool) -> tuple[int, int]:
    """Return the number of files and their bytes, to estimate the remaining time."""
    count = size = 0
    for path, _ in find_files(paths, recursive=recursive):
        count += 1
        try:
            size += os.stat(path).st_size  # noqa: PTH116 - a Path per file costs more than the call
        except OSError:
            continue
    return count, size


def printable(text: str) -> str:
    """Replace bytes of a file name that are not UTF-8 by question marks, for output and for the API."""
    return text.encode("utf-8", "replace").decode()


def digest_and_kind(path: str) -> tuple[str, Kind]:
    """Return the file's SHA-256 in hex, and its kind. Raises ``OSError``."""
    digest, head = hashlib.sha256(), b""
    with Path(path).open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            head = head or chunk[:HEAD_BYTES]
            digest.update(chunk)
    return digest.hexdigest(), kind_of(head)


def kind_at(path: str) -> Kind:
    """Return a file's kind. Raises ``OSError``."""
    with Path(path).open("rb") as file:
        return kind_of(file.read(HEAD_BYTES))
