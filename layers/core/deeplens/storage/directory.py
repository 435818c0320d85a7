"""Store objects in a directory, on a local disk or an NFS mount, durable when ``put`` returns."""

import errno
import hashlib
import io
import mimetypes
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from secrets import token_hex
from types import SimpleNamespace
from typing import BinaryIO, cast
from uuid import uuid4

from deeplens.errors import DeepLensError, ObjectNotFound, StoreUnavailable, TenantStoreDenied
from deeplens.storage.beneath import LinkRefused, below, open_file, readable, stat_file, sync
from deeplens.storage.keys import MAX_KEY_BYTES, Bucket, checked, checked_prefix
from deeplens.storage.ports import ClientUploads, FormPost, ObjectInfo, ObjectStore, Part, PartUrl
from deeplens.storage.signing import PREFIX, signed, signed_url
from deeplens.storage.traced import traced

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


@traced
class DirectoryStore(Bucket):
    """``ObjectStore`` below one folder.

    Every access goes through descriptors and follows no symbolic link, as a tenant may replace a file or a folder of
    its share by a link at any moment. A link raises ``TenantStoreDenied``; listings leave it out.

    Content types are extended attributes, or guessed from the key where the file system or a copying tool dropped them.
    A missing bucket beside existing ones raises ``TenantStoreDenied``; an empty share is one that is not mounted and
    raises ``StoreUnavailable``.

    Parameters
    ----------
    folder : the bucket.
    root : ``nfs://bucket``.
    public_url, signing_key : for signed URLs, which the host of the API serves.
    installation : as in ``Bucket``.
    suffix : of every object's file; empty for directories with files of others.
    share : a folder above, by default the next one, that only operators can replace; links may lead to it.
    """

    def __init__(
        self,
        folder: Path,
        root: str,
        public_url: str,
        signing_key: str,
        suffix: str = SUFFIX,
        installation: str = "",
        share: Path | None = None,
    ) -> None:
        super().__init__(root, installation)
        self._share, self._suffix = share or folder.parent, suffix
        self._path = folder.relative_to(self._share).as_posix()
        self._public_url, self._signing_key = public_url, signing_key

    def ensure(self) -> None:
        with self._translated(self._bucket):
            try:
                mark = self._mark()
            except FileNotFoundError:
                self._create()
                mark = self._mark()
            self._check_mark(mark)

    def require_ours(self) -> None:
        with self._translated(self._bucket):
            self._check_mark(self._mark())

    def adopt(self, replacing: str = "") -> None:
        with self._translated(self._bucket), self._opened_bucket() as bucket:
            found = self._mark()
            if found not in (None, replacing):
                self._check_mark(found)
            self._write_mark(bucket)

    def remove(self) -> None:
        with self._translated(self._bucket), suppress(FileNotFoundError):
            self._check_mark(self._mark())
            with below(self._share) as share:
                shutil.rmtree(self._path, dir_fd=share)

    def put(self, key: str, body: bytes | BinaryIO, content_type: str) -> None:
        with self._translated(key), self._located(key, create=True) as (folder, name):
            _write(folder, name, body, content_type)

    def get(self, key: str) -> bytes:
        with self._translated(key), self._file(key) as file:
            return file.read()

    def get_range(self, key: str, start: int, length: int) -> bytes:
        with self._translated(key), self._file(key) as file:
            file.seek(start)
            return file.read(length)

    def head(self, key: str) -> ObjectInfo:
        with self._translated(key), self._located(key) as (folder, name):
            return _info(key, folder, name)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            # Otherwise objects on a share that is not mounted would count as deleted.
            with self._translated(key), self._opened_bucket() as bucket, suppress(FileNotFoundError):
                parent, name = self._split(key)
                with below(bucket, parent) as folder:
                    os.unlink(name, dir_fd=folder)

    def list(self, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        base, slash, _ = checked_prefix(prefix).rpartition("/")
        with self._translated(prefix), self._opened_bucket() as bucket:
            keys = self._keys(bucket, base + slash, after)
            wanted = (key for key in keys if key.startswith(prefix) and key > after)
            for parent, group in groupby(wanted, lambda key: key.rpartition("/")[0]):
                with suppress(FileNotFoundError, NotADirectoryError), below(bucket, parent) as folder:
                    for key in group:
                        with suppress(FileNotFoundError, LinkRefused):
                            yield _info(key, folder, self._split(key)[1])

    def copy(self, source: str, target: str, content_type: str = "") -> None:
        with self._translated(source), self._file(source) as file:
            self.put(target, file, content_type or _content_type(source, file.fileno()))

    def presign_get(self, key: str, expires: timedelta) -> str:
        return signed_url(self._public_url, self._signing_key, "GET", self._bucket, checked(key), expires)

    def uploads(self) -> ClientUploads:
        return DirectoryUploads(self, self._bucket, self._public_url, self._signing_key)

    def _create(self) -> None:
        """Create the folder and its mark in one step, so that a crash leaves no folder without a mark."""
        self._share.mkdir(parents=True, exist_ok=True)
        new = f"{WRITING}{uuid4().hex}"
        with below(self._share) as share:
            try:
                with below(share, new, create=True) as folder:
                    self._write_mark(folder)
                os.rename(new, self._path, src_dir_fd=share, dst_dir_fd=share)
            except OSError as error:
                # Another process created the folder meanwhile; the caller checks its mark.
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            finally:
                shutil.rmtree(new, ignore_errors=True, dir_fd=share)
            sync(share)

    def _mark(self) -> str | None:
        with self._opened_bucket() as bucket, suppress(FileNotFoundError), open_file(bucket, MARK) as file:
            return file.read().decode()
        return None

    def _write_mark(self, bucket: int) -> None:
        _write(bucket, MARK, self._own_mark().encode(), "text/plain")

    def _opened_bucket(self) -> AbstractContextManager[int]:
        return below(self._share, self._path)

    @contextmanager
    def _located(self, key: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
        """Open the folder of an object's file; yield it and the file's name."""
        parent, name = self._split(key)
        with self._opened_bucket() as bucket, below(bucket, parent, create=create) as folder:
            yield folder, name

    def _file(self, key: str) -> BinaryIO:
        with self._located(key) as (folder, name):
            return open_file(folder, name)

    def _split(self, key: str) -> tuple[str, str]:
        """Return the folder of an object's file, and the file's name."""
        parent, _, name = checked(key).rpartition("/")
        return parent, name + self._suffix

    def _missing(self, key: str) -> DeepLensError:
        """Return the error for a missing file: the object, the bucket or the whole share is missing."""
        with suppress(OSError), self._opened_bucket():
            return ObjectNotFound(f"no object {key}")
        if self._share.is_dir() and any(self._share.iterdir()):
            return TenantStoreDenied(f"no bucket {self._bucket}", "NoSuchBucket")
        return StoreUnavailable(f"nothing in {self._share}: is the share mounted?")

    def _keys(self, bucket: int, base: str, after: str) -> Iterator[str]:
        """Yield keys below a folder in the order of their bytes, without folders that lie before ``after``."""
        names: Sequence[str] = ()
        with suppress(FileNotFoundError, NotADirectoryError), below(bucket, base) as folder:
            names = self._names(folder)
        for key in (base + name for name in names):
            if not key.endswith("/"):
                yield key
            elif (key > after or after.startswith(key)) and len(key.encode()) < MAX_KEY_BYTES:
                yield from self._keys(bucket, key, after)

    def _names(self, folder: int) -> Sequence[str]:
        with readable(folder) as descriptor, os.scandir(descriptor) as entries:
            return sorted(filter(None, (self._name(folder, entry) for entry in entries)))

    def _name(self, folder: int, entry: os.DirEntry[str]) -> str:
        """Return an object's name, a folder's with a slash, and nothing for symbolic links and other files."""
        if not self._suffix and entry.name.startswith(WRITING):
            return ""
        if entry.is_dir(follow_symlinks=False):
            return f"{entry.name}/"
        if entry.is_file(follow_symlinks=False) and entry.name.endswith(self._suffix):
            return entry.name.removesuffix(self._suffix)
        if entry.name.startswith(WRITING):
            _remove_abandoned(folder, entry.name)
        return ""

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """Translate errors of the file system."""
        try:
            yield
        except LinkRefused as error:
            raise TenantStoreDenied(f"{key!r} leads over a symbolic link, which is not followed", "Outside") from error
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
        chunks = map(self._store.get, keys)
        joined = SimpleNamespace(read=lambda _size: next(chunks, b""))
        self._store.put(key, cast("BinaryIO", joined), UNKNOWN_TYPE)
        self._store.delete(keys)

    def abort(self, key: str, multipart_id: str) -> None:
        self._store.delete([_part_key(multipart_id, part.number) for part in self.parts(key, multipart_id)])


def _part_key(multipart_id: str, number: int) -> str:
    return f"{PARTS}/{multipart_id}/{number:05}"


def _write(folder: int, name: str, body: bytes | BinaryIO, content_type: str) -> None:
    """Write a file durably; until all of it is on disk, the old one stays."""
    writing = f"{WRITING}{uuid4().hex}"
    try:
        created = os.open(writing, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder)
        with os.fdopen(created, "wb") as file:
            shutil.copyfileobj(io.BytesIO(body) if isinstance(body, bytes) else body, file, 1 << 20)
            with suppress(OSError, AttributeError):
                os.setxattr(created, TYPE_ATTRIBUTE, content_type.encode())
            file.flush()
            os.fsync(created)
        os.replace(writing, name, src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(writing, dir_fd=folder)
    sync(folder)


def _remove_abandoned(folder: int, writing: str) -> None:
    """Remove a file that a crashed process was writing; files of running processes are younger."""
    with suppress(OSError):
        if time.time() - stat_file(folder, writing).st_mtime > ABANDONED_SECONDS:
            os.unlink(writing, dir_fd=folder)


def _info(key: str, folder: int, name: str) -> ObjectInfo:
    stat = stat_file(folder, name)
    etag = hashlib.md5(f"{stat.st_mtime_ns}/{stat.st_size}/{stat.st_ino}".encode(), usedforsecurity=False).hexdigest()
    kind = _content_type(key, f"/proc/self/fd/{folder}/{name}")
    return ObjectInfo(key, stat.st_size, kind, etag, datetime.fromtimestamp(stat.st_mtime, UTC))


def _content_type(key: str, file: int | str) -> str:
    """Return a file's content type; ``file`` is a descriptor, or a path whose last component is not followed."""
    with suppress(OSError, AttributeError):
        return os.getxattr(file, TYPE_ATTRIBUTE, follow_symlinks=isinstance(file, int)).decode()
    return mimetypes.guess_type(key)[0] or UNKNOWN_TYPE
