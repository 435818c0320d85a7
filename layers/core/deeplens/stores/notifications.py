"""Notifications of customer-owned storage: S3, Event Grid, EventBridge, MinIO → deeplens.images.maintenance"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any
from urllib.parse import unquote_plus

from deeplens.common.ports import Clock
from deeplens.events.bucket import BucketNotification
from deeplens.events.maintenance import ImageMaintenance
from deeplens.stores.model import MAX_KEYS, RegisteredStores, TenantStore, media_of

SOURCE = "aws:s3"
VALIDATION = "Microsoft.EventGrid.SubscriptionValidationEvent"
EVENT_BRIDGE = {"Object Created", "Object Deleted"}
BLOBS = {"Microsoft.Storage.BlobCreated", "Microsoft.Storage.BlobDeleted", "Microsoft.Storage.BlobRenamed"}
MAX_EVENTS = 5000

type Named = tuple[str, str]
"""Container and key of an object."""


@dataclass(frozen=True, slots=True)
class StoreNotifications:
    """Return the events that look objects up in the store, since a message only says that they may have changed."""

    registered: RegisteredStores
    clock: Clock

    def __call__(self, batch: Sequence[BucketNotification]) -> list[tuple[ImageMaintenance, ...]]:
        """The events that follow from each message of S3, for every registration of the bucket.

        Registrations are found by the bucket's name, not by the sender, and each is read with its own credentials.
        """
        named = [[(at.bucket, at.key) for at in message.changed if at.source == SOURCE] for message in batch]
        stores = {bucket: self._followed(bucket) for bucket in {bucket for objects in named for bucket, _ in objects}}
        return [self._lookups(objects, stores) for objects in named]

    def note(self, store: TenantStore, objects: Sequence[Named]) -> list[ImageMaintenance]:
        """Record that the store notified, and return the events that look up its objects."""
        now = self.clock.now()
        self.registered.notified(store.id, now)
        return [
            ImageMaintenance(
                maintenance_type="store-objects",
                tenant_id=store.tenant_id,
                subject="tenant",
                job=store.id,
                keys=list(keys),
                requested_at=now,
            )
            for keys in batched(_keys_of(store, objects), MAX_KEYS, strict=False)
        ]

    def _followed(self, bucket: str) -> list[TenantStore]:
        stores = self.registered.of_container(bucket)
        return [store for store in stores if (store.kind, store.endpoint, store.mode) == ("s3", None, "reference")]

    def _lookups(self, objects: Sequence[Named], stores: dict[str, list[TenantStore]]) -> tuple[ImageMaintenance, ...]:
        buckets = dict.fromkeys(bucket for bucket, _ in objects)
        return tuple(event for bucket in buckets for store in stores[bucket] for event in self.note(store, objects))


def validation_code(payload: Any) -> str | None:
    """The code that a new subscription of Event Grid expects in the answer."""
    for item in _items(payload):
        if item.get("eventType") == VALIDATION and isinstance(item.get("data"), dict):
            return str(item["data"].get("validationCode", ""))
    return None


def objects_in(payload: Any) -> list[Named]:
    """The objects that a message over HTTP is about."""
    return [found for item in _items(payload) if (found := _azure(item) or _event_bridge(item) or _s3(item))]


def _keys_of(store: TenantStore, objects: Sequence[Named]) -> list[str]:
    """Keys below the store's prefix, each once; other objects are ignored."""
    below = [key for container, key in objects if container == store.container and key.startswith(store.prefix)]
    return [key for key in dict.fromkeys(key.removeprefix(store.prefix) for key in below) if media_of(key)]


def _items(payload: Any) -> Iterator[dict[str, Any]]:
    items = payload.get("Records", [payload]) if isinstance(payload, dict) else payload
    if isinstance(items, list):
        yield from (item for item in items[:MAX_EVENTS] if isinstance(item, dict))


def _azure(item: dict[str, Any]) -> Named | None:
    """Of Event Grid's own schema and of CloudEvents."""
    kind, subject = item.get("eventType") or item.get("type"), item.get("subject")
    if kind not in BLOBS or not isinstance(subject, str):
        return None
    _, _, rest = subject.partition("/containers/")
    container, _, key = rest.partition("/blobs/")
    return (container, key) if container and key else None


def _event_bridge(item: dict[str, Any]) -> Named | None:
    """Of Amazon EventBridge, whose keys are not URL-encoded."""
    if item.get("source") != "aws.s3" or item.get("detail-type") not in EVENT_BRIDGE:
        return None
    match item.get("detail"):
        case {"bucket": {"name": str(bucket)}, "object": {"key": str(key)}}:
            return bucket, key
    return None


def _s3(item: dict[str, Any]) -> Named | None:
    """Of S3, SQS-borne and so URL-encoded, and of MinIO, which encodes as S3 does."""
    try:
        bucket, key = item["s3"]["bucket"]["name"], item["s3"]["object"]["key"]
        return str(bucket), unquote_plus(str(key), errors="strict")
    except (KeyError, TypeError, UnicodeDecodeError):
        return None
