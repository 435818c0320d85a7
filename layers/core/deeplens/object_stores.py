"""Ports to what holds tenants' objects."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import BinaryIO, Protocol

from deeplens.direct_uploads import ClientUploads
from deeplens.domain import ObjectInfo, Tenant
from deeplens.tenant_stores import TenantStore


class ObjectStore(Protocol):
    """One tenant's bucket. Keys are POSIX-like, at most 1,024 UTF-8 bytes, without a leading slash or dot segments.

    Every method raises ``StoreUnavailable`` when the store cannot be reached and ``TenantStoreDenied`` when it
    refuses us; reads of a missing key raise ``ObjectNotFound``; a key that could leave the bucket
    raises ``ValueError``.
    """

    def ensure(self) -> None:
        """Create the bucket; safe to repeat."""

    def remove(self) -> None:
        """Remove the emptied store itself; a missing one is fine."""

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

    def registered(self, tenant: Tenant, store: TenantStore) -> ObjectStore:
        """A store that the tenant registered. Raises only what is the tenant's own fault: ``TransientError``."""
