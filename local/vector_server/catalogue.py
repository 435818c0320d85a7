"""Open the collections of one directory on demand, and close the least recently used ones."""

import fcntl
import logging
import re
import shutil
from collections import OrderedDict
from pathlib import Path

from local.vector_server.collection import MARKER, Collection, CollectionParams
from local.vector_server.errors import RequestError, bad_request, not_found
from local.vector_server.translate import Json

# A name is one path segment and no dot segment, so that its folder is inside the data directory.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,254}")
MAX_OPEN = 512
"""Limit of open collections. Each costs a thread, two files and about 60 kB; opening one takes 10 ms."""
log = logging.getLogger(__name__)


class Catalogue:
    """Own a data directory exclusively. The constructor raises ``BlockingIOError`` if another process owns it.

    Parameters
    ----------
    directory : has a subdirectory per collection.
    max_open : maximum number of open collections.
    """

    def __init__(self, directory: Path, max_open: int = MAX_OPEN) -> None:
        self._directory, self._max_open = directory, max_open
        self._open: OrderedDict[str, Collection] = OrderedDict()
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = (directory / ".lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._remove_incomplete()

    def names(self) -> list[str]:
        return sorted(marker.parent.name for marker in self._directory.glob(f"*/{MARKER}"))

    def open_names(self) -> list[str]:
        """Return the open collections, the least recently used one first."""
        return list(self._open)

    def exists(self, name: str) -> bool:
        return (self._path(name) / MARKER).is_file()

    def create(self, name: str, body: Json) -> bool:
        params = CollectionParams.parse(body)
        if self.exists(name):
            raise RequestError(409, f"Wrong input: Collection `{name}` already exists!")
        self._keep(name, Collection.create(self._path(name), params))
        return True

    def get(self, name: str) -> Collection:
        collection = self._open.get(name)
        if collection is not None:
            self._open.move_to_end(name)
            return collection
        if not self.exists(name):
            raise not_found(f"Collection `{name}` doesn't exist!")
        return self._keep(name, Collection.load(self._path(name)))

    def drop(self, name: str) -> bool:
        """Delete a collection; return False if it does not exist."""
        path = self._path(name)
        if not self.exists(name):
            return False
        (path / MARKER).unlink()
        if name in self._open:
            self._open.pop(name).close()
        shutil.rmtree(path)
        return True

    def unflushed(self) -> list[str]:
        return [name for name, collection in self._open.items() if collection.unflushed]

    def flush(self, name: str) -> None:
        """Write a collection to disk, unless it was closed meanwhile, which wrote it as well."""
        if name in self._open:
            self._open[name].flush()

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()
        self._lock.close()

    def _keep(self, name: str, collection: Collection) -> Collection:
        self._open[name] = collection
        while len(self._open) > self._max_open:
            self._open.popitem(last=False)[1].close()
        return collection

    def _path(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise bad_request(f"collection name {name!r}: use only letters, digits, '_', '-' and '.', at most 255")
        return self._directory / name

    def _remove_incomplete(self) -> None:
        for path in self._directory.iterdir():
            if path.is_dir() and not (path / MARKER).is_file():
                log.warning("removing the incomplete collection %s", path.name)
                shutil.rmtree(path)
