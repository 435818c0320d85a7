"""Ports to what holds tenants' objects."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import BinaryIO, Protocol

from deeplens.tenants.model import Tenant


@dataclass(frozen=True, slots=True)
class Part:
    """A part that the store has; ``number`` is counted from 1."""

    number: int
    size_bytes: int
    etag: str


@dataclass(frozen=True, slots=True)
class FormPost:
    """A presigned POST: the fields go into a form, the file last, as ``file``."""

    url: str
    fields: Mapping[str, str]
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class PartUrl:
    """Where one part is PUT."""

    number: int
    url: str
    size_bytes: int
    expires_at: datetime


class ClientUploads(Protocol):
    """How clients write to a store by themselves. Raises as ``ObjectStore`` does."""

    def form(self, key: str, max_bytes: int, expires: timedelta) -> FormPost:
        """A form for one object of 1 to ``max_bytes`` bytes."""

    def begin(self, key: str) -> str:
        """Begin an object that is sent in parts; returns the store's name for them."""

    def part_url(self, key: str, multipart_id: str, number: int, size_bytes: int, expires: timedelta) -> PartUrl:
        """Where a part of exactly ``size_bytes`` goes; sending it again replaces it."""

    def parts(self, key: str, multipart_id: str) -> list[Part]:
        """Those that are there, by number. ``ObjectNotFound``, or none, once they were joined or aborted."""

    def join(self, key: str, multipart_id: str, parts: Sequence[Part]) -> None:
        """Make the object of its parts; readers see all of it or nothing."""

    def abort(self, key: str, multipart_id: str) -> None:
        """Forget the parts; safe to repeat."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store knows of an object without reading it."""

    key: str
    size_bytes: int
    content_type: str
    etag: str
    modified_at: datetime


class ObjectStore(Protocol):
    """One tenant's bucket. Keys are POSIX-like, at most 1,024 UTF-8 bytes, without a leading slash or dot segments.

    Every method raises ``StoreUnavailable`` when the store cannot be reached and ``TenantStoreDenied`` when it
    refuses us; reads of a missing key raise ``ObjectNotFound``; a key that could leave the bucket
    raises ``ValueError``.
    """

    def ensure(self) -> None:
        """Create the bucket and mark it as this installation's; safe to repeat.

        Raises ``StoreNotOwned`` for a bucket that is there already without this installation's mark.
        """

    def require_ours(self) -> None:
        """Check that the bucket carries this installation's mark. Raises ``StoreNotOwned``.

        Whoever deletes objects that no row names checks it first: another installation may use the bucket as well.
        """

    def adopt(self, replacing: str = "") -> None:
        """Mark a bucket that carries no mark, or the mark ``replacing``; an operator's decision.

        Raises ``StoreNotOwned`` when the bucket carries any other mark.
        """

    def remove(self) -> None:
        """Remove the emptied store itself; a missing one is fine. Raises ``StoreNotOwned``."""

    def put(self, key: str, body: bytes | BinaryIO, content_type: str) -> None:
        """Write or replace an object; readers see the old or the new one, never a part."""

    def get(self, key: str) -> bytes: ...

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """``length`` bytes from ``start`` on, fewer where the object ends before; none from behind its end."""

    def stream(self, key: str, chunk_bytes: int = 1 << 20) -> Iterator[bytes]:
        """Chunks in order; a missing key raises at the call, not at the first chunk."""

    def head(self, key: str) -> ObjectInfo: ...

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; missing ones are fine."""

    def list(self, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        """Objects in the order of their keys' bytes, those behind ``after`` only."""

    def copy(self, source: str, target: str, content_type: str = "") -> None:
        """Copy within the bucket; with the content type of the source unless another is given."""

    def presign_get(self, key: str, expires: timedelta) -> str: ...

    def presign_put(self, key: str, expires: timedelta, content_type: str) -> str: ...

    def uploads(self) -> ClientUploads:
        """How clients write to this store by themselves."""

    def uri(self, key: str) -> str:
        """``scheme://bucket/key``."""

    def key_of(self, uri: str) -> str:
        """The key of a URI in this bucket; ``InvalidEvent`` for any other bucket, scheme or a climbing path."""


class StoreResolver(Protocol):
    def for_tenant(self, tenant: Tenant) -> ObjectStore:
        """Where DeepLens writes all that it has of a tenant."""

    def holding(self, tenant: Tenant, uri: str) -> ObjectStore:
        """The store of the tenant's that a URI lies in: the one above, or one that the tenant registered.

        ``InvalidEvent`` for any other.
        """


PREFIX = "uploads/"
"""The only place that clients write to, and the only one that a bucket notifies of."""
