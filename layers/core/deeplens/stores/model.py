"""Customer-owned storage: registrations, known objects, what a change of an object means, and the ports."""

import hashlib
from base64 import b32encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NewType, Protocol
from urllib.parse import urlsplit

from deeplens.formats.videos import type_by_name
from deeplens.storage.keys import BucketNames, is_key
from deeplens.storage.ports import ObjectInfo, ObjectStore, StoreResolver
from deeplens.tenants.model import Tenant

MaxImageBytes = NewType("MaxImageBytes", int)
"""Larger images in a tenant's own store are left out."""
ScanWindow = NewType("ScanWindow", int)
"""Objects of a tenant's own store that may be ingested at the same time."""

StoreKind = Literal["s3", "minio", "azure", "nfs"]
StoreMode = Literal["reference", "managed"]
StoreState = Literal["ready", "incomplete"]
Removal = Literal["delete", "keep", "ask"]
type ObjectState = Literal["present", "removing", "removed", "kept", "asked"]
type Media = Literal["image", "video"]
type Change = Literal["same", "new", "changed", "ignored"]
MAX_KEYS = 40
"""The most keys of one event: keys of up to 1,024 bytes have to fit into 64 KB."""
IMAGE_TYPES = {name: f"image/{name}" for name in ("jpeg", "png", "webp", "gif", "tiff", "bmp", "heic", "heif", "avif")}
IMAGE_TYPES |= {"jpg": "image/jpeg", "jpe": "image/jpeg", "tif": "image/tiff"}
"""By extension, as listings have no content type. The file itself decides when it is read."""


@dataclass(frozen=True, slots=True)
class TenantStore:
    """A store that a tenant registered. Only its credentials, policy and state ever change.

    Attributes
    ----------
    container : bucket, Azure container, or directory below the tenant's share.
    endpoint : base URL; None is AWS itself.
    prefix : of everything DeepLens may touch; empty, or ends with a slash.
    role_arn : assumed for S3 with ``external_id``; without it, keys are used.
    bucket_owner : account that the bucket has to belong to.
    credentials_version : rises with every rotation; 0 without kept credentials.
    state : ``ready`` when a probe found that all that its mode needs works.
    checks : what the last probe found.
    notified_at : when its last notification came.
    former_uri : the tenant's storage URI before a managed store took its place.
    event_secret_sha256 : of the secret that its notifications over HTTP carry.
    """

    id: str
    tenant_id: str
    kind: StoreKind
    mode: StoreMode
    container: str
    created_at: datetime
    endpoint: str | None = None
    region: str | None = None
    prefix: str = ""
    role_arn: str | None = None
    bucket_owner: str | None = None
    credentials_version: int = 0
    removal: Removal = "delete"
    state: StoreState = "incomplete"
    checks: tuple[dict[str, Any], ...] = ()
    notified_at: datetime | None = None
    former_uri: str | None = None
    event_secret_sha256: str = ""

    @property
    def root(self) -> str:
        """The prefix of its objects' URIs. It has the store's id, as buckets of two endpoints may share a name."""
        return f"{self.kind}://{self.id}"

    @property
    def external_id(self) -> str:
        return external_id(self.tenant_id)

    @property
    def secret_name(self) -> str:
        return secret_name(self, self.credentials_version)


def external_id(tenant_id: str) -> str:
    """The external id of an assumed role. It follows from the tenant, so no tenant can use another one's role."""
    return f"deeplens:{tenant_id}"


def secret_name(store: TenantStore, version: int) -> str:
    """The name of a version of its credentials in the secret store."""
    return f"deeplens/stores/{store.tenant_id}/{store.id}/{version}"


@dataclass(frozen=True, slots=True)
class StorePlatform:
    """What registrations and their advice depend on in this installation.

    Attributes
    ----------
    account : AWS account whose functions assume tenants' roles; empty where there is none.
    queue_arn : queue that buckets' notifications are sent to; empty where there is none.
    public_url : base URL of the API.
    endpoints : of the S3-compatible stores that DeepLens keeps its own buckets in.
    bucket_prefix : how the names of DeepLens' own buckets begin.
    """

    account: str
    queue_arn: str
    public_url: str
    endpoints: tuple[str, ...] = ()
    bucket_prefix: str = BucketNames().prefix

    def event_url(self, store: TenantStore) -> str:
        """Where Event Grid, EventBridge and MinIO send a store's notifications."""
        return f"{self.public_url.rstrip('/')}/v1/notifications/{store.tenant_id}/{store.id}"

    def reserves(self, container: str) -> bool:
        """Whether a name may be that of one of DeepLens' own buckets; older ones have the default prefix."""
        return container.startswith((self.bucket_prefix, BucketNames().prefix))

    def owns(self, endpoint: str | None) -> bool:
        """Whether DeepLens keeps its own buckets at an endpoint; None is AWS."""
        if endpoint is None:
            return True
        address, own = urlsplit(endpoint), [urlsplit(url) for url in self.endpoints]
        aws = (address.hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))
        return aws or any((address.hostname, address.port) == (url.hostname, url.port) for url in own)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials of a store; never shown, logged or kept in a database."""

    values: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class KnownObject:
    """An object as it was last seen.

    Attributes
    ----------
    version : rises when an object comes back after its image was deleted: a deleted image's id is never used again.
    """

    key: str
    etag: str
    image_id: str
    version: int = 0
    state: ObjectState = "present"


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """What an existing object means for the tenant's images.

    Attributes
    ----------
    known : the object to save; None for an ignored one.
    retired : image or video of the object that had this key before; it is to be deleted.
    """

    kind: Change
    entry: ObjectInfo
    known: KnownObject | None = None
    retired: str | None = None

    @property
    def adds(self) -> bool:
        """Whether it makes an image or a video."""
        return self.kind in ("new", "changed")


def judge_present(
    store: TenantStore, entry: ObjectInfo, known: KnownObject | None, max_bytes: Mapping[Media, int]
) -> ObjectChange:
    """Decide what an existing object means; ``max_bytes`` are the limits of an image and of a video."""
    media = media_of(entry.key)
    if media is None or not 0 < entry.size_bytes <= max_bytes[media]:
        return ObjectChange("ignored", entry)
    gone = known is not None and known.state in ("removing", "removed")
    if known is not None and not gone and known.etag == entry.etag:
        return ObjectChange("same", entry, KnownObject(entry.key, entry.etag, known.image_id, known.version))
    version = 0 if known is None else known.version + gone
    made = KnownObject(entry.key, entry.etag, image_id_of(store, entry.key, entry.etag, version), version)
    if known is None:
        return ObjectChange("new", entry, made)
    kept = store.removal == "keep" and not gone
    return ObjectChange("new" if gone else "changed", entry, made, None if kept else known.image_id)


def image_id_of(store: TenantStore, key: str, etag: str, version: int = 0) -> str:
    """A stable id for the same bytes under the same key: notification, scan and redelivery make one image or video."""
    identity = "\0".join((store.tenant_id, store.id, key, etag, str(version)))
    prefix = "vid_" if type_by_name(key) else "img_"
    return prefix + b32encode(hashlib.sha256(identity.encode()).digest()).decode().lower()[:26]


def media_of(key: str) -> Media | None:
    """What an object may be, by its extension; None for others, and for keys that DeepLens does not accept."""
    if not is_key(key):
        return None
    if type_by_name(file_name_in(key)):
        return "video"
    return "image" if image_type(key) else None


def file_name_in(key: str) -> str:
    return key.rpartition("/")[2]


def image_type(key: str) -> str | None:
    """The media type of a key's extension, among those that DeepLens accepts."""
    name = file_name_in(key)
    return IMAGE_TYPES.get(name.rpartition(".")[2].lower()) if "." in name else None


class TenantStores(StoreResolver, Protocol):
    """Every store of a tenant: the one that DeepLens writes to, and the registered ones."""

    def registered(self, tenant: Tenant, store: TenantStore) -> ObjectStore:
        """A registered store. Its failures concern only this tenant: ``TransientError``."""


class RegisteredStores(Protocol):
    """Registrations of all tenants (platform database). Raises ``DatabaseUnavailable``."""

    def find(self, tenant_id: str, store_id: str) -> TenantStore | None: ...

    def of_tenant(self, tenant_id: str) -> list[TenantStore]:
        """By id."""

    def of_container(self, container: str) -> list[TenantStore]:
        """Ready stores of all tenants with this bucket name; the caller has to check endpoint and prefix."""

    def save(self, store: TenantStore) -> None:
        """Insert it, or update what may change."""

    def set_storage_uri(self, tenant_id: str, uri: str) -> None:
        """Set where DeepLens writes the tenant's objects."""

    def remove(self, tenant_id: str, store_id: str) -> None:
        """Remove a registration; a missing one is fine."""

    def notified(self, store_id: str, now: datetime) -> None:
        """Record when the last notification arrived."""


class StoreObjects(Protocol):
    """Known objects of registered stores (tenant database). Raises ``DatabaseUnavailable``."""

    def find(self, tenant: Tenant, store_id: str, keys: Collection[str]) -> dict[str, KnownObject]:
        """By key; unknown ones are absent."""

    def save(self, tenant: Tenant, store_id: str, objects: Sequence[KnownObject], run_id: str | None = None) -> None:
        """Insert or update them; ``run_id`` is the scan that saw them."""

    def unseen(self, tenant: Tenant, store_id: str, run_id: str, after: str, limit: int) -> list[KnownObject]:
        """Objects behind ``after`` that should exist and that the scan has not seen, by key."""

    def in_state(self, tenant: Tenant, store_id: str, state: ObjectState, limit: int) -> list[KnownObject]:
        """By key."""

    def counts(self, tenant: Tenant, store_id: str) -> dict[str, int]:
        """Objects by state."""

    def forget(self, tenant: Tenant, store_id: str) -> None:
        """Delete the known objects of a store."""
