"""Opening stores that tenants registered, with their own credentials and at addresses that are allowed."""

import json
import time
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

from deeplens.common.ports import SecretStore
from deeplens.egress.rules import EgressRules
from deeplens.errors import SecretNotFound, TenantStoreDenied
from deeplens.settings import Settings
from deeplens.storage.keys import checked
from deeplens.storage.ports import ObjectStore
from deeplens.stores.model import Credentials, RegisteredStores, TenantStore
from deeplens.stores.owned import OwnedStore

CACHE_SECONDS = 10.0
MAX_OPEN_STORES = 64


class OpenStores:
    """Opens registered stores. Rows are cached for ten seconds, clients until the credentials change.

    Parameters
    ----------
    registered, secrets : built when the first registered store is needed; most functions need none.
    """

    def __init__(
        self,
        settings: Settings,
        registered: Callable[[], RegisteredStores],
        secrets: Callable[[], SecretStore],
        egress: EgressRules,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._registered, self._secrets = settings, registered, secrets
        self._egress, self._monotonic = egress, monotonic
        self._known: dict[tuple[str, str], tuple[float, TenantStore | None]] = {}
        self._open: dict[tuple[str, int], ObjectStore] = {}
        self._opening = Lock()

    def find(self, tenant_id: str, store_id: str) -> TenantStore | None:
        """The registration, at most ten seconds old; None when this tenant has none of the id."""
        until, store = self._known.get((tenant_id, store_id), (0.0, None))
        if until < self._monotonic():
            store = self._registered().find(tenant_id, store_id)
            self._known[tenant_id, store_id] = (self._monotonic() + CACHE_SECONDS, store)
        return store

    def open(self, store: TenantStore) -> ObjectStore:
        """The store. Raises ``TenantStoreDenied`` without credentials, ``SecretStoreUnavailable``."""
        key = (store.id, store.credentials_version)
        with self._opening:
            if key not in self._open:
                if len(self._open) >= MAX_OPEN_STORES:
                    self._open.clear()
                self._open[key] = self.open_with(store, self.credentials(store))
            return self._open[key]

    def open_with(self, store: TenantStore, credentials: Credentials) -> ObjectStore:
        """The store with credentials that are not saved yet."""
        inner, read_only = self._inner(store, credentials.values), store.mode == "reference"
        return OwnedStore(inner, store.root, store.prefix, read_only=read_only)

    def client(self, store: TenantStore, credentials: Credentials) -> Any:
        """The S3 client of a store, for calls that ``ObjectStore`` does not have."""
        return self._s3(store, credentials.values)[0]

    def credentials(self, store: TenantStore) -> Credentials:
        """The saved credentials. Raises ``TenantStoreDenied`` when they are gone."""
        if not store.credentials_version:
            return Credentials({})
        try:
            return Credentials(json.loads(self._secrets().get(store.secret_name)))
        except SecretNotFound:
            raise TenantStoreDenied("the store's credentials are gone; rotate them", "NoCredentials") from None

    def _inner(self, store: TenantStore, given: Mapping[str, str]) -> ObjectStore:
        match store.kind:
            case "s3" | "minio":
                from deeplens.storage.s3 import S3Store

                client, seconds_left = self._s3(store, given)
                return S3Store(client, f"s3://{store.container}", store.region or "us-east-1", seconds_left)
            case "azure":
                from deeplens.storage.azure import AzureStore, container_client

                key = given.get("accountKey")
                credential = {"account_name": given["accountName"], "account_key": key} if key else given["sas"]
                client = container_client(store.endpoint or "", store.container, credential, self._egress)
                return AzureStore(client, f"azure://{store.container}", key)
            case "nfs":
                return self._directory(store)

    def _s3(self, store: TenantStore, given: Mapping[str, str]) -> tuple[Any, Callable[[], float]]:
        from deeplens.stores.s3_client import tenant_s3_client

        return tenant_s3_client(self._settings, store, given, self._egress)

    def _directory(self, store: TenantStore) -> ObjectStore:
        """A directory below the tenant's share; no symbolic link may lead out of it."""
        from deeplens.storage.directory import SUFFIX, DirectoryStore

        own = self._settings
        home = own.tenant_nfs_root / store.tenant_id
        folder = home / checked(store.container)
        if not folder.resolve().is_relative_to(home.resolve()):
            raise TenantStoreDenied("the directory leads out of the tenant's share", "Outside")
        if not folder.is_dir():
            raise TenantStoreDenied("there is no such directory in the tenant's share", "NoSuchBucket")
        suffix = SUFFIX if store.mode == "managed" else ""
        return DirectoryStore(folder, store.root, own.public_url, own.url_signing_key, suffix)
