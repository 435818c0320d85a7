"""A store that a tenant registered, limited to its prefix; its errors concern only this tenant."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import BinaryIO

from deeplens.errors import NotServed, StoreUnavailable, TenantStoreDenied, TenantStoreUnavailable
from deeplens.storage.keys import Bucket, checked, checked_prefix
from deeplens.storage.ports import ClientUploads, FormPost, ObjectInfo, ObjectStore, Part, PartUrl


class OwnedStore(Bucket):
    """``ObjectStore`` below a prefix of another one.

    A tenant's store that does not answer raises ``TenantStoreUnavailable``, never ``StoreUnavailable``, for which a
    whole partition would wait. DeepLens neither creates nor removes it.

    Parameters
    ----------
    root : ``scheme://`` and the id of the registration.
    prefix : empty, or ending with a slash.
    read_only : whether the store is registered for reading only: writes raise ``TenantStoreDenied``.
    """

    def __init__(self, inner: ObjectStore, root: str, prefix: str, *, read_only: bool = False) -> None:
        super().__init__(root)
        self._inner, self._prefix, self._read_only = inner, prefix, read_only

    def ensure(self) -> None:
        """No-op: the tenant created it."""

    def require_ours(self) -> None:
        """No-op: only this tenant has registered the store, so DeepLens may write and delete here."""

    def adopt(self, replacing: str = "") -> None:
        """No-op: the tenant owns the bucket."""

    def remove(self) -> None:
        """No-op: the tenant keeps the bucket."""

    def put(self, key: str, body: bytes | BinaryIO, content_type: str) -> None:
        self._check_writable()
        with _tenant_errors():
            self._inner.put(self._full(key), body, content_type)

    def get(self, key: str) -> bytes:
        with _tenant_errors():
            return self._inner.get(self._full(key))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        with _tenant_errors():
            return self._inner.get_range(self._full(key), start, length)

    def head(self, key: str) -> ObjectInfo:
        with _tenant_errors():
            return replace(self._inner.head(self._full(key)), key=key)

    def delete(self, keys: Iterable[str]) -> None:
        self._check_writable()
        with _tenant_errors():
            self._inner.delete(self._full(key) for key in keys)

    def list(self, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        start = self._prefix + after if after else ""
        with _tenant_errors():
            for entry in self._inner.list(self._prefix + checked_prefix(prefix), start):
                yield replace(entry, key=entry.key.removeprefix(self._prefix))

    def copy(self, source: str, target: str, content_type: str = "") -> None:
        self._check_writable()
        with _tenant_errors():
            self._inner.copy(self._full(source), self._full(target), content_type)

    def presign_get(self, key: str, expires: timedelta) -> str:
        if self._root.startswith("nfs://"):
            raise NotServed("this file is too large to be served; read it in your own directory")
        with _tenant_errors():
            return self._inner.presign_get(self._full(key), expires)

    def uploads(self) -> ClientUploads:
        self._check_writable()
        if not self._root.startswith(("s3://", "minio://")):
            raise NotServed("this tenant's own store accepts no direct uploads; use POST /v1/images")
        return OwnedUploads(self._inner.uploads(), self._full)

    def _check_writable(self) -> None:
        if self._read_only:
            raise TenantStoreDenied("the store is registered for reading", "ReadOnly")

    def _full(self, key: str) -> str:
        # The key is checked by itself as well: behind a prefix, dots could climb out of it.
        return checked(self._prefix + checked(key))


@dataclass(frozen=True, slots=True)
class OwnedUploads:
    """``ClientUploads`` below the prefix."""

    inner: ClientUploads
    full: Callable[[str], str]

    def form(self, key: str, max_bytes: int, expires: timedelta) -> FormPost:
        with _tenant_errors():
            return self.inner.form(self.full(key), max_bytes, expires)

    def begin(self, key: str) -> str:
        with _tenant_errors():
            return self.inner.begin(self.full(key))

    def part_url(self, key: str, multipart_id: str, number: int, size_bytes: int, expires: timedelta) -> PartUrl:
        with _tenant_errors():
            return self.inner.part_url(self.full(key), multipart_id, number, size_bytes, expires)

    def parts(self, key: str, multipart_id: str) -> list[Part]:
        with _tenant_errors():
            return self.inner.parts(self.full(key), multipart_id)

    def join(self, key: str, multipart_id: str, parts: Sequence[Part]) -> None:
        with _tenant_errors():
            self.inner.join(self.full(key), multipart_id, parts)

    def abort(self, key: str, multipart_id: str) -> None:
        with _tenant_errors():
            self.inner.abort(self.full(key), multipart_id)


@contextmanager
def _tenant_errors() -> Iterator[None]:
    """Raise the errors of a tenant's own store instead of those of a shared store."""
    try:
        yield
    except StoreUnavailable as error:
        raise TenantStoreUnavailable(f"the tenant's store does not answer: {error}") from error
    except PermissionError as error:
        raise TenantStoreDenied("the directory refused", "AccessDenied") from error
