"""Probing a registered store: list, read, write, and whether it notifies of changes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

from deeplens.errors import EndpointRefused, ObjectNotFound, StoreUnavailable, TenantStoreDenied, TenantStoreUnavailable
from deeplens.storage.keys import is_key
from deeplens.storage.ports import ObjectStore
from deeplens.stores.advice import Check, CheckName, Outcome, outcome_of
from deeplens.stores.model import Credentials, TenantStore
from deeplens.stores.opened import OpenStores


@dataclass(frozen=True, slots=True)
class Probe:
    """Probe a store with its credentials; no object is left behind.

    Parameters
    ----------
    queue_arn : queue that S3's notifications should go to.
    """

    open_stores: OpenStores
    queue_arn: str

    def __call__(self, store: TenantStore, credentials: Credentials) -> list[Check]:
        def opened() -> ObjectStore:
            return self.open_stores.open_with(store, credentials)

        tries: dict[CheckName, Callable[[], Outcome]] = {
            "list": lambda: listed(opened()),
            "read": lambda: read(opened()),
            "write": lambda: written(opened()) if store.mode == "managed" else "skipped",
            "notification": lambda: self._notified(store, credentials),
        }
        return [Check(name, tried(attempt)) for name, attempt in tries.items()]

    def _notified(self, store: TenantStore, credentials: Credentials) -> Outcome:
        if store.mode == "managed":
            return "skipped"
        if store.notified_at is not None:
            return "passed"
        if store.kind != "s3" or store.endpoint or not self.queue_arn:
            return "waiting"
        client = self.open_stores.client(store, credentials)
        try:
            found = client.get_bucket_notification_configuration(Bucket=store.container)
        except ClientError as error:
            return outcome_of(str(error.response["Error"]["Code"]))
        except BotoCoreError:
            return "unreachable"
        return "passed" if notifies(found, self.queue_arn) else "not-configured"


def tried(attempt: Callable[[], Outcome]) -> Outcome:
    """The outcome of an attempt; errors of the store are outcomes as well."""
    try:
        return attempt()
    except TenantStoreDenied as error:
        return outcome_of(error.reason)
    except EndpointRefused:
        return "endpoint"
    except ObjectNotFound:
        return outcome_of("NoSuchBucket")
    except (TenantStoreUnavailable, StoreUnavailable):
        return "unreachable"


def listed(store: ObjectStore) -> Outcome:
    next(iter(store.list()), None)
    return "passed"


def read(store: ObjectStore) -> Outcome:
    """Read the first object; in an empty store, check that a key is missing and not forbidden."""
    try:
        key = next((entry.key for entry in _first(store) if entry.size_bytes and is_key(entry.key)), None)
    except TenantStoreDenied:
        key = None
    try:
        store.head(key or probe_key()) if key is None else next(iter(store.stream(key, 64)), b"")
    except ObjectNotFound:
        return "passed"
    return "passed"


def written(store: ObjectStore) -> Outcome:
    key = probe_key()
    store.put(key, b"DeepLens was here", "text/plain")
    store.delete([key])
    return "passed"


def probe_key() -> str:
    """A key that no object has."""
    return f".deeplens-probe/{uuid4().hex}"


def notifies(configuration: dict[str, Any], queue_arn: str) -> bool:
    """Whether a bucket notifies our queue, or EventBridge, of creations and removals.

    DeepLens cannot see the rules of EventBridge.
    """
    if "EventBridgeConfiguration" in configuration:
        return True
    events = {
        event
        for one in configuration.get("QueueConfigurations", [])
        if one.get("QueueArn") == queue_arn
        for event in one.get("Events", [])
    }
    return "s3:ObjectCreated:*" in events and any(event.startswith("s3:ObjectRemoved:") for event in events)


def _first(store: ObjectStore) -> Iterator[Any]:
    for number, entry in enumerate(store.list()):
        if number >= 100:
            return
        yield entry
