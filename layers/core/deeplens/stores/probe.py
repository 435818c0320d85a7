"""Probing a registered store: list, read, write, and whether it notifies of changes."""

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from itertools import islice
from typing import Any
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

from deeplens.errors import EndpointRefused, ObjectNotFound, StoreUnavailable, TenantStoreDenied, TenantStoreUnavailable
from deeplens.storage.keys import is_key
from deeplens.storage.ports import ObjectStore
from deeplens.stores.advice import Check, CheckName, Outcome, outcome_of
from deeplens.stores.model import Credentials, TenantStore
from deeplens.stores.resolver import OpenStores


def probe(open_stores: OpenStores, store: TenantStore, credentials: Credentials, queue_arn: str) -> list[Check]:
    """Probe a store with its credentials; no object is left behind. S3's notifications should go to ``queue_arn``."""

    @cache
    def opened() -> ObjectStore:
        open_stores.check_role(store)
        return open_stores.open_with(store, credentials)

    attempts: dict[CheckName, Callable[[], Outcome | None]] = {
        "list": lambda: _list(opened()),
        "read": lambda: _read(opened()),
        "write": lambda: _write(opened()) if store.mode == "managed" else "skipped",
        "notification": lambda: _find_notification(open_stores, store, credentials, queue_arn),
    }
    return [Check(name, _outcome(attempt)) for name, attempt in attempts.items()]


def _find_notification(
    open_stores: OpenStores, store: TenantStore, credentials: Credentials, queue_arn: str
) -> Outcome:
    if store.mode == "managed":
        return "skipped"
    if store.notified_at is not None:
        return "passed"
    if store.kind != "s3" or store.endpoint or not queue_arn:
        return "waiting"
    client, _ = open_stores.s3_client(store, credentials)
    try:
        configuration = client.get_bucket_notification_configuration(Bucket=store.container)
    except ClientError as error:
        return outcome_of(str(error.response["Error"]["Code"]))
    except BotoCoreError:
        return "unreachable"
    return "passed" if _notifies(configuration, queue_arn) else "not-configured"


def _outcome(attempt: Callable[[], Outcome | None]) -> Outcome:
    """The outcome of an attempt; errors of the store are outcomes as well."""
    try:
        return attempt() or "passed"
    except TenantStoreDenied as error:
        return outcome_of(error.reason)
    except EndpointRefused:
        return "endpoint"
    except ObjectNotFound:
        return outcome_of("NoSuchBucket")
    except (TenantStoreUnavailable, StoreUnavailable):
        return "unreachable"


def _list(store: ObjectStore) -> None:
    next(iter(store.list()), None)


def _read(store: ObjectStore) -> None:
    """Read the first object; in an empty store, check that a key is missing and not forbidden."""
    try:
        first = islice(store.list(), 100)
        key = next((entry.key for entry in first if entry.size_bytes and is_key(entry.key)), None)
    except TenantStoreDenied:
        key = None
    with suppress(ObjectNotFound):
        store.head(_unused_key()) if key is None else store.get_range(key, 0, 64)


def _write(store: ObjectStore) -> None:
    key = _unused_key()
    store.put(key, b"DeepLens was here", "text/plain")
    store.delete([key])


def _unused_key() -> str:
    return f".deeplens-probe/{uuid4().hex}"


def _notifies(configuration: dict[str, Any], queue_arn: str) -> bool:
    """Whether a bucket notifies our queue, or EventBridge, of creations and removals.

    DeepLens cannot see the rules of EventBridge.
    """
    if "EventBridgeConfiguration" in configuration:
        return True
    queues = [queue for queue in configuration.get("QueueConfigurations", []) if queue.get("QueueArn") == queue_arn]
    events = {event for queue in queues for event in queue.get("Events", [])}
    return "s3:ObjectCreated:*" in events and any(event.startswith("s3:ObjectRemoved:") for event in events)
