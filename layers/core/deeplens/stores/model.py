"""Stores of tenants' own: what a registration says, what is known of their objects, and what a change means."""

import hashlib
from base64 import b32encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NewType, Protocol

from deeplens.formats.videos import type_by_name
from deeplens.storage.keys import checked
from deeplens.storage.ports import ObjectInfo, ObjectStore, StoreResolver
from deeplens.tenants.model import Tenant

MaxImageBytes = NewType("MaxImageBytes", int)
"""Larger images in a tenant's own store are left out."""
ScanWindow = NewType("ScanWindow", int)
"""Objects of a tenant's own store that may be ingested at the same time."""

type StoreKind = Literal["s3", "minio", "azure", "nfs"]
type StoreMode = Literal["reference", "managed"]
type Removal = Literal["delete", "keep", "ask"]
type ObjectState = Literal["present", "removing", "removed", "kept", "asked"]
type Media = Literal["image", "video"]
type Change = Literal["same", "new", "changed", "ignored"]
MOST_KEYS = 40
"""Of one event: keys of 1,024 bytes at the most have to fit into 64 KB."""
IMAGE_TYPES = {
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "jpe": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "gif": "image/gif",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "bmp": "image/bmp",
    "heic": "image/heic",
    "heif": "image/heif",
    "avif": "image/avif",
}
"""By extension: listings tell no content type. The file itself decides when it is read."""


@dataclass(frozen=True, slots=True)
class TenantStore:
    """A store that a tenant registered. Only its credentials, policy and state ever change.

    Attributes
    ----------
    container : bucket, Azure container, or directory below the tenant's own.
    endpoint : base URL; None is AWS itself.
    prefix : of everything DeepLens may touch; empty, or ends with a slash.
    role_arn : assumed for S3 with ``external_id``; without it, keys are used.
    bucket_owner : account that the bucket has to belong to.
    credentials_version : rises with every rotation; 0 where none are kept.
    state : ``ready`` when all that its mode needs was found to work.
    checks : what the last probe found.
    notified_at : when its last notification came.
    former_uri : of a managed one, where the tenant's objects were to be before.
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
    state: Literal["ready", "incomplete"] = "incomplete"
    checks: tuple[dict[str, Any], ...] = ()
    notified_at: datetime | None = None
    former_uri: str | None = None
    event_secret_sha256: str = ""

    @property
    def root(self) -> str:
        """What its objects' URIs begin with: its id, as buckets of two endpoints may share a name."""
        return f"{self.kind}://{self.id}"

    @property
    def external_id(self) -> str:
        """Told to a role that is assumed. It follows from the tenant, so nobody can have another's role assumed."""
        return f"deeplens:{self.tenant_id}"

    @property
    def secret_name(self) -> str:
        return secret_name(self, self.credentials_version)


def secret_name(store: TenantStore, version: int) -> str:
    """Where the secret store keeps a version of its credentials."""
    return f"deeplens/stores/{store.tenant_id}/{store.id}/{version}"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What opens a store; never shown, logged or kept in a database."""

    values: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class KnownObject:
    """What is known of a key.

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
    """What an object that stands in a store means.

    Attributes
    ----------
    known : what is to be remembered; None for what is ignored.
    retired : image, or video, of the object that stood under this key before, which is to be deleted.
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
    """What it means that ``entry`` stands in the store; ``max_bytes`` of an image, and of a video."""
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
    """The same for the same bytes under the same key: notification, scan and redelivery make one image, or video."""
    told = "\0".join((store.tenant_id, store.id, key, etag, str(version)))
    prefix = "vid_" if type_by_name(key) else "img_"
    return prefix + b32encode(hashlib.sha256(told.encode()).digest()).decode().lower()[:26]


def media_of(key: str) -> Media | None:
    """What an object may be; None also where DeepLens cannot name its key: such objects stay where they are."""
    try:
        named = checked(key)
    except ValueError:
        return None
    if type_by_name(named.rpartition("/")[2]):
        return "video"
    return "image" if image_type(named) else None


def image_type(key: str) -> str | None:
    """The media type that a key's extension stands for, among those that DeepLens takes."""
    name = key.rpartition("/")[2]
    return IMAGE_TYPES.get(name.rpartition(".")[2].lower()) if "." in name else None


class TenantStores(StoreResolver, Protocol):
    """Every store of a tenant: the one that DeepLens writes to, and those that the tenant registered."""

    def registered(self, tenant: Tenant, store: TenantStore) -> ObjectStore:
        """A store that the tenant registered. Raises only what is the tenant's own fault: ``TransientError``."""


class RegisteredStores(Protocol):
    """Registrations of all tenants (platform database). Raises ``DatabaseUnavailable``."""

    def find(self, tenant_id: str, store_id: str) -> TenantStore | None: ...

    def of_tenant(self, tenant_id: str) -> list[TenantStore]:
        """By id."""

    def of_container(self, container: str) -> list[TenantStore]:
        """Ready ones of all tenants that name this bucket; whoever asks has to check endpoint and prefix."""

    def save(self, store: TenantStore) -> None:
        """Create it, or replace what may change."""

    def adopt(self, store: TenantStore) -> None:
        """The tenant's own store from now on, for all that DeepLens writes of it."""

    def release(self, store: TenantStore) -> None:
        """Back to where the tenant's objects were to be before."""

    def remove(self, tenant_id: str, store_id: str) -> None:
        """A missing one is fine."""

    def notified(self, store_id: str, now: datetime) -> None:
        """Note that a notification came."""


class StoreObjects(Protocol):
    """What is known of the objects of tenants' own stores (tenant database). Raises ``DatabaseUnavailable``."""

    def find(self, tenant: Tenant, store_id: str, keys: Collection[str]) -> dict[str, KnownObject]:
        """By key; unknown ones are absent."""

    def save(self, tenant: Tenant, store_id: str, objects: Sequence[KnownObject], run_id: str | None = None) -> None:
        """Create or replace them; ``run_id`` is the scan that saw them."""

    def unseen(self, tenant: Tenant, store_id: str, run_id: str, after: str, limit: int) -> list[KnownObject]:
        """Those behind ``after`` that should stand and that the scan has not seen, by key."""

    def in_state(self, tenant: Tenant, store_id: str, state: ObjectState, limit: int) -> list[KnownObject]:
        """By key."""

    def counts(self, tenant: Tenant, store_id: str) -> dict[str, int]:
        """Objects by state."""

    def forget(self, tenant: Tenant, store_id: str) -> None:
        """Drop all that is known of a store."""
