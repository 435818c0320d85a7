"""Define the port of object stores."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import BinaryIO, Protocol

from deeplens.errors import ObjectNotFound
from deeplens.tenants.model import Tenant


@dataclass(frozen=True, slots=True)
class Part:
    """A stored part of an upload; ``number`` begins at 1."""

    number: int
    size_bytes: int
    etag: str


@dataclass(frozen=True, slots=True)
class FormPost:
    """A presigned POST; the form has these fields, and the file as its last field, ``file``."""

    url: str
    fields: Mapping[str, str]
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class PartUrl:
    """Presigned URL to PUT one part."""

    number: int
    url: str
    size_bytes: int
    expires_at: datetime


class ClientUploads(Protocol):
    """Direct uploads of clients to a store. Raises as ``ObjectStore`` does."""

    def form(self, key: str, max_bytes: int, expires: timedelta) -> FormPost:
        """Return a form for one object of 1 to ``max_bytes`` bytes."""

    def begin(self, key: str) -> str:
        """Begin a multipart upload; return its id."""

    def part_url(self, key: str, multipart_id: str, number: int, size_bytes: int, expires: timedelta) -> PartUrl:
        """Return the URL of a part of exactly ``size_bytes``; sending it again replaces it."""

    def parts(self, key: str, multipart_id: str) -> list[Part]:
        """Return the stored parts by number. ``ObjectNotFound``, or none, after they were joined or aborted."""

    def join(self, key: str, multipart_id: str, parts: Sequence[Part]) -> None:
        """Assemble the object from its parts; readers see all of it or nothing."""

    def abort(self, key: str, multipart_id: str) -> None:
        """Delete the parts; safe to repeat."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """Metadata of an object."""

    key: str
    size_bytes: int
    content_type: str
    etag: str
    modified_at: datetime


class ObjectStore(Protocol):
    """One tenant's bucket. Keys are POSIX-like, at most 1,024 UTF-8 bytes, without a leading slash or dot segments.

    Every method raises ``StoreUnavailable`` when the store cannot be reached and ``TenantStoreDenied`` when it
    denies access; reads of a missing key raise ``ObjectNotFound``; a key that could leave the bucket
    raises ``ValueError``.
    """

    def ensure(self) -> None:
        """Create the bucket and mark it as this installation's; safe to repeat.

        Raises ``StoreNotOwned`` for an existing bucket without this installation's mark.
        """

    def require_ours(self) -> None:
        """Check that the bucket carries this installation's mark. Raises ``StoreNotOwned``.

        Call it before deleting objects that no row refers to: another installation may use the bucket as well.
        """

    def adopt(self, replacing: str = "") -> None:
        """Mark a bucket that has no mark, or the mark ``replacing``; only operators decide this.

        Raises ``StoreNotOwned`` when the bucket carries any other mark.
        """

    def remove(self) -> None:
        """Remove the empty bucket, if it exists. Raises ``StoreNotOwned``."""

    def put(self, key: str, body: bytes | BinaryIO, content_type: str) -> None:
        """Write or replace an object; readers see the old or the new one, never a part."""

    def get(self, key: str) -> bytes: ...

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return ``length`` bytes from ``start``, fewer at the end of the object, none after it."""

    def head(self, key: str) -> ObjectInfo: ...

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; missing ones are ignored."""

    def list(self, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        """Yield objects in the order of their keys' bytes, only those after ``after``."""

    def copy(self, source: str, target: str, content_type: str = "") -> None:
        """Copy within the bucket; by default the content type stays."""

    def presign_get(self, key: str, expires: timedelta) -> str: ...

    def uploads(self) -> ClientUploads:
        """Return the direct uploads of this store. Raises ``NotServed`` where there are none."""

    def uri(self, key: str) -> str:
        """Return ``scheme://bucket/key``."""

    def key_of(self, uri: str) -> str:
        """Return the key of a URI in this bucket. Raises ``InvalidEvent`` for another bucket or an invalid key."""


class StoreResolver(Protocol):
    def for_tenant(self, tenant: Tenant) -> ObjectStore:
        """Return the store that DeepLens writes a tenant's objects to."""

    def holding(self, tenant: Tenant, uri: str) -> ObjectStore:
        """Return the tenant's store that contains a URI: the one above, or a registered one.

        Raises ``InvalidEvent`` for any other.
        """


PREFIX = "uploads/"
"""Prefix of the objects that clients write; buckets send notifications of these alone."""


def exists(store: ObjectStore, key: str) -> bool:
    """Return whether the store has an object with this key."""
    try:
        store.head(key)
    except ObjectNotFound:
        return False
    return True
