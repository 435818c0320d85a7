"""Reach files below a directory by descriptors, without following symbolic links.

A path that was checked may lead elsewhere a moment later. A descriptor stays the directory that it was opened as, and
nobody can turn a name that is opened with ``O_NOFOLLOW`` into a way out.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

WALK = os.O_DIRECTORY | getattr(os, "O_PATH", os.O_RDONLY)
"""Like a path, ``O_PATH`` needs only the permission to search the directories that lead to a file."""


class LinkRefused(NotADirectoryError):
    """A name is a symbolic link."""


@contextmanager
def below(base: int | Path, path: str = "", *, create: bool = False) -> Iterator[int]:
    """Open a directory below another one; ``create`` makes what is missing, durably.

    Links that lead to ``base`` are followed. A link below it raises ``LinkRefused``.
    """
    current = os.dup(base) if isinstance(base, int) else os.open(base, WALK)
    try:
        for name in filter(None, path.split("/")):
            inner = _entered(current, name, create=create)
            os.close(current)
            current = inner
        yield current
    finally:
        os.close(current)


def open_file(directory: int, name: str) -> BinaryIO:
    """Open a regular file for reading. Raises ``LinkRefused``, and ``FileNotFoundError`` for pipes and directories."""
    try:
        # Without O_NONBLOCK, opening a pipe would wait for somebody to write to it.
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise LinkRefused(errno.ELOOP, "symbolic link", name) from error
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise FileNotFoundError(errno.ENOENT, "not a regular file", name)


def stat_file(directory: int, name: str) -> os.stat_result:
    """Return a regular file's metadata. Raises as ``open_file`` does."""
    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if stat.S_ISLNK(found.st_mode):
        raise LinkRefused(errno.ELOOP, "symbolic link", name)
    if not stat.S_ISREG(found.st_mode):
        raise FileNotFoundError(errno.ENOENT, "not a regular file", name)
    return found


@contextmanager
def readable(directory: int) -> Iterator[int]:
    """Open a directory again, to list it or to write it to disk: a descriptor of ``WALK`` does neither."""
    descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def sync(directory: int) -> None:
    """Write the directory itself to disk, which makes its entries durable."""
    with readable(directory) as descriptor:
        os.fsync(descriptor)


def _entered(directory: int, name: str, *, create: bool) -> int:
    try:
        return os.open(name, WALK | os.O_NOFOLLOW, dir_fd=directory)
    except FileNotFoundError:
        if not create:
            raise
    except NotADirectoryError as error:
        # The kernel reports a link as any other file that is no directory.
        if stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise LinkRefused(errno.ELOOP, "symbolic link", name) from error
        raise
    try:
        os.mkdir(name, dir_fd=directory)
        sync(directory)
    except FileExistsError:
        # Another process created it.
        pass
    return _entered(directory, name, create=False)
