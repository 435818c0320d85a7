"""Notifications of Azure Event Grid, MinIO and S3: which objects they are about, and the events that follow."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import batched
from typing import Any
from urllib.parse import unquote_plus

from deeplens.events.maintenance import ImageMaintenance
from deeplens.stores.model import MAX_KEYS, TenantStore, media_of

VALIDATION = "Microsoft.EventGrid.SubscriptionValidationEvent"
BLOBS = {"Microsoft.Storage.BlobCreated", "Microsoft.Storage.BlobDeleted", "Microsoft.Storage.BlobRenamed"}
MAX_EVENTS = 5000


def validation_code(payload: Any) -> str | None:
    """The code that a new subscription of Event Grid expects in the answer."""
    for item in _items(payload):
        if item.get("eventType") == VALIDATION and isinstance(item.get("data"), dict):
            return str(item["data"].get("validationCode", ""))
    return None


def objects_in(payload: Any) -> list[tuple[str, str]]:
    """(container, key) of each object that a message is about; its state is looked up in the store."""
    return [found for item in _items(payload) if (found := _azure(item) or _s3(item))]


def keys_of(store: TenantStore, objects: Sequence[tuple[str, str]]) -> list[str]:
    """Keys below the store's prefix, each once; other objects are ignored."""
    below = [key for container, key in objects if container == store.container and key.startswith(store.prefix)]
    return [key for key in dict.fromkeys(key.removeprefix(store.prefix) for key in below) if media_of(key)]


def looks_at(store: TenantStore, keys: Sequence[str], now: datetime) -> list[ImageMaintenance]:
    """The events that have objects of a store looked up."""
    return [
        ImageMaintenance(
            maintenance_type="store-objects",
            tenant_id=store.tenant_id,
            subject="tenant",
            job=store.id,
            keys=list(some),
            requested_at=now,
        )
        for some in batched(keys, MAX_KEYS, strict=False)
    ]


def _items(payload: Any) -> Iterator[dict[str, Any]]:
    found = payload.get("Records", [payload]) if isinstance(payload, dict) else payload
    if isinstance(found, list):
        yield from (item for item in found[:MAX_EVENTS] if isinstance(item, dict))


def _azure(item: dict[str, Any]) -> tuple[str, str] | None:
    """Of Event Grid's own schema and of CloudEvents."""
    kind, subject = item.get("eventType") or item.get("type"), item.get("subject")
    if kind not in BLOBS or not isinstance(subject, str):
        return None
    _, _, rest = subject.partition("/containers/")
    container, _, key = rest.partition("/blobs/")
    return (container, key) if container and key else None


def _s3(item: dict[str, Any]) -> tuple[str, str] | None:
    """Of S3, SQS-borne and so URL-encoded, and of MinIO, which encodes as S3 does."""
    try:
        bucket, key = item["s3"]["bucket"]["name"], item["s3"]["object"]["key"]
        return str(bucket), unquote_plus(str(key), errors="strict")
    except (KeyError, TypeError, UnicodeDecodeError):
        return None
