"""Store objects in a directory, on a local disk or an NFS mount, durable when ``put`` returns."""

import errno
import hashlib
import io
import mimetypes
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from secrets import token_hex
from types import SimpleNamespace
from typing import BinaryIO, cast
from uuid import uuid4

from deeplens.errors import DeepLensError, ObjectNotFound, StoreUnavailable, TenantStoreDenied
from deeplens.storage.keys import Bucket, checked, checked_prefix
from deeplens.storage.ports import ClientUploads, FormPost, ObjectInfo, ObjectStore, Part, PartUrl, within
from deeplens.storage.signing import PREFIX, signed, signed_url

WRITING = ".writing-"
"""Prefix of files that are being written."""
ABANDONED_SECONDS = 86_400
SUFFIX = "~"
"""Suffix of every object's file, so that ``a`` and ``a/b`` can both be objects."""
MARK = ".deeplens-installation"
"""File with the id of the installation that owns the bucket; no key has this name, as it lacks the suffix."""
TYPE_ATTRIBUTE = "user.content_type"
PARTS = "parts"
UNKNOWN_TYPE = "application/octet-stream"


class DirectoryStore(Bucket):
    """``ObjectStore`` below one folder.

    Content types are extended attributes, or guessed from the key where the file system or a copying tool dropped them.
    A missing bucket beside existing ones raises ``TenantStoreDenied``; an empty root is a share that is not mounted and
    raises ``StoreUnavailable``.

    Parameters
    ----------
    folder : the bucket.
    root : ``nfs://bucket``.
    public_url, signing_key : for signed URLs, which the host of the API serves.
    installation : as in ``Bucket``.
    suffix : of every object's file; empty for directories with files of others.
    """

    def __init__(
        self,
        folder: Path,
        root: str,
        public_url: str,
        signing_key: str,
        suffix: str = SUFFIX,
        installation: str = "",
    ) -> None:
        super().__init__(root, installation)
        self._folder, self._suffix = folder, suffix
        self._public_url, self._signing_key = public_url, signing_key

    def ensure(self) -> None:
        with self._translated(self._bucket):
            if not self._folder.exists():
                self._create()
            self._check_mark(self._mark())

    def require_ours(self) -> None:
        with self._translated(self._bucket):
            self._require_bucket()
            self._check_mark(self._mark())

    def adopt(self, replacing: str = "") -> None:
        with self._translated(self._bucket):
            self._require_bucket()
            found = self._mark()
            if found not in (None, replacing):
                self._check_mark(found)
            self._write_mark(self._folder)

    def remove(self) -> None:
        with self._translated(self._bucket):
            if self._folder.exists():
                self._check_mark(self._mark())
                shutil.rmtree(self._folder)

    def put(self, key: str, body: bytes | BinaryIO, content_type: str) -> None:
        path = self._path(key)
        with self._translated(key):
            self._require_bucket()
            _make_folders(path.parent)
            _write(path, body, content_type)

    def get(self, key: str) -> bytes:
        with self._translated(key):
            return self._path(key).read_bytes()

    def get_range(self, key: str, start: int, length: int) -> bytes:
        with self._translated(key), self._path(key).open("rb") as file:
            file.seek(start)
            return file.read(length)

    def stream(self, key: str, chunk_bytes: int = 1 << 20) -> Iterator[bytes]:
        with self._translated(key):
            file = self._path(key).open("rb")
        chunks = iter(partial(file.read, chunk_bytes), b"")
        return within(self._translated(key), within(file, chunks))

    def head(self, key: str) -> ObjectInfo:
        with self._translated(key):
            return _info(key, self._path(key))

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            with self._translated(key):
                # Otherwise objects on a share that is not mounted would count as deleted.
                self._require_bucket()
                with suppress(FileNotFoundError):
                    self._path(key).unlink()

    def list(self, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        parent, slash, _ = checked_prefix(prefix).rpartition("/")
        with self._translated(prefix):
            self._require_bucket()
            if (self._folder / parent).resolve() != self._folder.resolve() / parent:
                # A symbolic link, which no listing follows.
                return
            for key in self._keys(parent + slash, after):
                if key.startswith(prefix) and key > after:
                    with suppress(FileNotFoundError):
                        yield _info(key, self._folder / (key + self._suffix))

    def copy(self, source: str, target: str, content_type: str = "") -> None:
        with self._translated(source), self._path(source).open("rb") as file:
            self.put(target, file, content_type or _content_type(source, self._path(source)))

    def presign_get(self, key: str, expires: timedelta) -> str:
        return signed_url(self._public_url, self._signing_key, "GET", self._bucket, checked(key), expires)

    def presign_put(self, key: str, expires: timedelta, content_type: str) -> str:  # noqa: ARG002 - sent by the client
        return signed_url(self._public_url, self._signing_key, "PUT", self._bucket, checked(key), expires)

    def uploads(self) -> ClientUploads:
        return DirectoryUploads(self, self._bucket, self._public_url, self._signing_key)

    def _create(self) -> None:
        """Create the folder and its mark in one step, so that a crash leaves no folder without a mark."""
        root = self._folder.parent
        root.mkdir(parents=True, exist_ok=True)
        new = root / f"{WRITING}{uuid4().hex}"
        try:
            new.mkdir()
            self._write_mark(new)
            new.rename(self._folder)
        except OSError as error:
            # Another process created the folder meanwhile; the caller checks its mark.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        finally:
            shutil.rmtree(new, ignore_errors=True)
        _sync_folder(root)

    def _mark(self) -> str | None:
        try:
            return (self._folder / MARK).read_text()
        except FileNotFoundError:
            return None

    def _write_mark(self, folder: Path) -> None:
        _write(folder / MARK, self._own_mark().encode(), "text/plain")

    def _path(self, key: str) -> Path:
        """Return the object's file. Raises ``ValueError`` when a symbolic link leads out of the bucket."""
        path = self._folder / (checked(key) + self._suffix)
        if path.is_symlink() or not path.parent.resolve().is_relative_to(self._folder.resolve()):
            raise ValueError(f"{key!r} leads out of its bucket")
        return path

    def _require_bucket(self) -> None:
        if not self._folder.is_dir():
            raise FileNotFoundError(self._folder)

    def _missing(self, key: str) -> DeepLensError:
        """Return the error for a missing file: the object, the bucket or the whole share is missing."""
        root = self._folder.parent
        if self._folder.is_dir():
            return ObjectNotFound(f"no object {key}")
        if root.is_dir() and any(root.iterdir()):
            return TenantStoreDenied(f"no bucket {self._bucket}")
        return StoreUnavailable(f"nothing in {root}: is the share mounted?")

    def _keys(self, base: str, after: str) -> Iterator[str]:
        """Yield keys below a folder in the order of their bytes, without folders that lie before ``after``."""
        names: list[str] = []
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self._folder / base) as entries:
            names = sorted(filter(None, map(self._name, entries)))
        for key in (base + name for name in names):
            if not key.endswith("/"):
                yield key
            elif key > after or after.startswith(key):
                yield from self._keys(key, after)

    def _name(self, entry: os.DirEntry[str]) -> str:
        """Return an object's name, a folder's with a slash, and nothing for symbolic links and other files."""
        if entry.is_symlink() or (not self._suffix and entry.name.startswith(WRITING)):
            return ""
        if entry.is_dir(follow_symlinks=False):
            return f"{entry.name}/"
        if entry.name.endswith(self._suffix):
            return entry.name.removesuffix(self._suffix)
        if entry.name.startswith(WRITING):
            _remove_abandoned(Path(entry))
        return ""

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """Translate errors of the file system."""
        try:
            yield
        except (FileNotFoundError, NotADirectoryError) as error:
            raise self._missing(key) from error
        except PermissionError as error:
            raise TenantStoreDenied("the directory denied access") from error
        except OSError as error:
            raise StoreUnavailable(type(error).__name__) from error


class DirectoryUploads:
    """``ClientUploads`` on a directory. Parts are objects below ``parts/``, without notifications."""

    def __init__(self, store: ObjectStore, bucket: str, public_url: str, signing_key: str) -> None:
        self._store, self._bucket, self._public_url, self._signing_key = store, bucket, public_url, signing_key

    def form(self, key: str, max_bytes: int, expires: timedelta) -> FormPost:
        path = f"{PREFIX}/{self._bucket}/{checked(key)}"
        fields = {"key": key, **signed(self._signing_key, "POST", path, expires, max_bytes)}
        until = datetime.fromtimestamp(int(fields["expires"]), UTC)
        return FormPost(f"{self._public_url.rstrip('/')}{PREFIX}/{self._bucket}", fields, until)

    def begin(self, key: str) -> str:
        checked(key)
        return token_hex(16)

    def part_url(self, key: str, multipart_id: str, number: int, size_bytes: int, expires: timedelta) -> PartUrl:
        checked(key)
        until = datetime.now(UTC) + expires
        part = _part_key(multipart_id, number)
        url = signed_url(self._public_url, self._signing_key, "PUT", self._bucket, part, expires, size_bytes)
        return PartUrl(number, url, size_bytes, until)

    def parts(self, key: str, multipart_id: str) -> list[Part]:
        checked(key)
        found = self._store.list(f"{PARTS}/{multipart_id}/")
        return [Part(int(entry.key.rpartition("/")[2]), entry.size_bytes, entry.etag) for entry in found]

    def join(self, key: str, multipart_id: str, parts: Sequence[Part]) -> None:
        keys = [_part_key(multipart_id, part.number) for part in parts]
        chunks = (chunk for part in keys for chunk in self._store.stream(part))
        joined = SimpleNamespace(read=lambda _size: next(chunks, b""))
        self._store.put(key, cast("BinaryIO", joined), UNKNOWN_TYPE)
        self._store.delete(keys)

    def abort(self, key: str, multipart_id: str) -> None:
        self._store.delete([_part_key(multipart_id, part.number) for part in self.parts(key, multipart_id)])


def _part_key(multipart_id: str, number: int) -> str:
    return f"{PARTS}/{multipart_id}/{number:05}"


def _write(path: Path, body: bytes | BinaryIO, content_type: str) -> None:
    """Write a file durably; until all of it is on disk, the old one stays."""
    writing = path.with_name(f"{WRITING}{uuid4().hex}")
    try:
        with writing.open("xb") as file:
            shutil.copyfileobj(io.BytesIO(body) if isinstance(body, bytes) else body, file, 1 << 20)
            with suppress(OSError, AttributeError):
                os.setxattr(file.fileno(), TYPE_ATTRIBUTE, content_type.encode())
            file.flush()
            os.fsync(file.fileno())
        writing.replace(path)
    finally:
        writing.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _remove_abandoned(writing: Path) -> None:
    """Remove a file that a crashed process was writing; files of running processes are younger."""
    with suppress(OSError):
        if time.time() - writing.stat().st_mtime > ABANDONED_SECONDS:
            writing.unlink()


def _make_folders(folder: Path) -> None:
    """Create a folder and its parents durably."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for parent in reversed(missing):
        parent.mkdir(exist_ok=True)
        _sync_folder(parent.parent)


def _sync_folder(folder: Path) -> None:
    """Write the folder itself to disk, which makes its entries durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _info(key: str, path: Path) -> ObjectInfo:
    stat = path.stat()
    etag = hashlib.md5(f"{stat.st_mtime_ns}/{stat.st_size}/{stat.st_ino}".encode(), usedforsecurity=False).hexdigest()
    return ObjectInfo(key, stat.st_size, _content_type(key, path), etag, datetime.fromtimestamp(stat.st_mtime, UTC))


def _content_type(key: str, path: Path) -> str:
    with suppress(OSError, AttributeError):
        return os.getxattr(path, TYPE_ATTRIBUTE).decode()
    return mimetypes.guess_type(key)[0] or UNKNOWN_TYPE
