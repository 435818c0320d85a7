"""Opening the stores of a tenant: DeepLens' own by the scheme of its row, registered ones with their credentials."""

import time
from collections.abc import Callable
from functools import lru_cache
from threading import Lock
from typing import Any

from pydantic_core import from_json

from deeplens.common.ports import SecretStore
from deeplens.egress.rules import EgressRules
from deeplens.errors import InvalidEvent, SecretNotFound, StoreUnavailable, TenantStoreDenied
from deeplens.settings import Settings
from deeplens.storage.keys import BUCKET_NAME, account_of, checked, store_id_of
from deeplens.storage.ports import ObjectStore
from deeplens.stores.model import Credentials, RegisteredStores, TenantStore
from deeplens.stores.owned import OwnedStore
from deeplens.tenants.model import Tenant

CACHE_SECONDS = 10.0
MAX_OPEN_STORES = 64
"""Each S3 store has connections of its own, and Lambda allows 1,024 open files."""


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
        inner = self._inner(store, credentials)
        return OwnedStore(inner, store.root, store.prefix, read_only=store.mode == "reference")

    def check_role(self, store: TenantStore) -> None:
        """Check that the store's role, if it has one, insists on the external id. Raises ``TenantStoreDenied``."""
        from deeplens.stores.s3_client import require_external_id

        if store.role_arn:
            require_external_id(self._settings, store)

    def s3_client(self, store: TenantStore, credentials: Credentials) -> tuple[Any, Callable[[], float]]:
        """The S3 client of a store, and how long what it signs is good for, in seconds."""
        from deeplens.stores.s3_client import tenant_s3_client

        return tenant_s3_client(self._settings, store, credentials.values, self._egress)

    def credentials(self, store: TenantStore) -> Credentials:
        """The saved credentials. Raises ``TenantStoreDenied`` when they are gone."""
        if not store.credentials_version:
            return Credentials({})
        try:
            return Credentials(from_json(self._secrets().get(store.secret_name)))
        except SecretNotFound:
            raise TenantStoreDenied("the store's credentials are gone; rotate them", "NoCredentials") from None

    def _inner(self, store: TenantStore, credentials: Credentials) -> ObjectStore:
        match store.kind:
            case "s3" | "minio":
                from deeplens.storage.s3 import S3Store

                client, seconds_left = self.s3_client(store, credentials)
                return S3Store(client, f"s3://{store.container}", store.region or "us-east-1", seconds_left)
            case "azure":
                from deeplens.storage.azure import AzureStore, container_client

                given = credentials.values
                key = given.get("accountKey")
                credential = {"account_name": given["accountName"], "account_key": key} if key else given["sas"]
                client = container_client(store.endpoint or "", store.container, credential, self._egress)
                return AzureStore(client, f"azure://{store.container}", key)
            case "nfs":
                return self._directory(store)

    def _directory(self, store: TenantStore) -> ObjectStore:
        """A directory below the tenant's share. The share is the operator's, and everything below it the tenant's."""
        from deeplens.storage.directory import SUFFIX, DirectoryStore

        own = self._settings
        share = own.tenant_nfs_root / store.tenant_id
        folder, suffix = share / checked(store.container), SUFFIX if store.mode == "managed" else ""
        return DirectoryStore(folder, store.root, own.public_url, own.url_signing_key, suffix, share=share)


class Stores:
    """``StoreResolver``: ``s3://`` with credentials for that bucket alone, ``minio://`` with the function's own,
    ``nfs://`` as a directory."""

    def __init__(self, settings: Settings, registered: OpenStores | None = None) -> None:
        self._settings, self._opening, self._registered = settings, Lock(), registered
        self._store = lru_cache(maxsize=MAX_OPEN_STORES)(self._open)

    def for_tenant(self, tenant: Tenant) -> ObjectStore:
        """The tenant's store.

        Raises
        ------
        TenantStoreDenied
            Its row names none that can be used.
        StoreUnavailable
            ``s3://`` without ``TENANT_STORAGE_ROLE_ARN``.
        """
        if store_id_of(tenant.storage_uri):
            return self.holding(tenant, f"{tenant.storage_uri}/")
        # One thread opens it: a second one would ask STS as well.
        with self._opening:
            return self._store(tenant.id, tenant.storage_uri)

    def holding(self, tenant: Tenant, uri: str) -> ObjectStore:
        """The store of this tenant's that a URI lies in. Raises ``InvalidEvent`` for any other."""
        store_id = store_id_of(uri)
        if store_id is None:
            return self._platform(tenant, uri)
        store = self._registered.find(tenant.id, store_id) if self._registered else None
        if store is None or not uri.startswith(f"{store.root}/"):
            raise InvalidEvent("the storage path lies outside the tenant's stores")
        return self.registered(tenant, store)

    def registered(self, tenant: Tenant, store: TenantStore) -> ObjectStore:
        if self._registered is None or store.tenant_id != tenant.id:
            raise InvalidEvent("no such store is registered")
        return self._registered.open(store)

    def _platform(self, tenant: Tenant, uri: str) -> ObjectStore:
        """The tenant's own bucket, also for what was written before it gave a store of its own to be managed."""
        former = tenant.storage_uri
        while (store_id := store_id_of(former)) and self._registered:
            store = self._registered.find(tenant.id, store_id)
            former = store.former_uri or "" if store else ""
        if former != tenant.storage_uri and uri.startswith(f"{former}/"):
            with self._opening:
                return self._store(tenant.id, former)
        return self.for_tenant(tenant)

    def _open(self, tenant_id: str, root: str) -> ObjectStore:
        scheme, _, bucket = root.partition("://")
        # One name, never a path: a store inside another one, or none at all, would show a tenant what is not its own.
        if not BUCKET_NAME.fullmatch(bucket):
            raise TenantStoreDenied(f"{bucket!r} is not the name of a bucket")
        if scheme in ("s3", "minio"):
            return self._open_s3(scheme, tenant_id, root, bucket)
        if scheme == "nfs":
            from deeplens.storage.directory import DirectoryStore

            own = self._settings
            folder, installation = own.nfs_root / bucket, own.installation_id
            return DirectoryStore(folder, root, own.public_url, own.url_signing_key, installation=installation)
        raise TenantStoreDenied(f"no provider for {scheme}:// stores; known are s3, minio and nfs")

    def _open_s3(self, scheme: str, tenant_id: str, root: str, bucket: str) -> ObjectStore:
        from deeplens.aws.clients import client, scoped_client
        from deeplens.storage.s3 import S3Store
        from deeplens.storage.scope import BucketCredentials, expect_owner

        own = self._settings
        if scheme == "minio":
            s3 = client("s3", own, own.s3_endpoint_url)
            return S3Store(s3, root, own.aws_region, installation=own.installation_id)
        if not own.tenant_storage_role_arn:
            raise StoreUnavailable("TENANT_STORAGE_ROLE_ARN is not set")
        credentials = BucketCredentials(client("sts", own), own.tenant_storage_role_arn, tenant_id, bucket)
        s3 = scoped_client("s3", own, credentials, own.s3_endpoint_url)
        expect_owner(s3, account_of(own.tenant_storage_role_arn))
        return S3Store(s3, root, own.aws_region, credentials.seconds_left, own.object_queue_arn, own.installation_id)
