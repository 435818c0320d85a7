"""A tenant's store by the scheme of its row."""

from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING

from deeplens.errors import InvalidEvent, StoreUnavailable, TenantStoreDenied
from deeplens.settings import Settings
from deeplens.storage.keys import BUCKET_NAME, store_id_of
from deeplens.storage.ports import ObjectStore
from deeplens.stores.model import TenantStore
from deeplens.tenants.model import Tenant

if TYPE_CHECKING:
    from deeplens.stores.opened import OpenStores

SCHEMES = ("s3", "minio", "nfs")
MAX_OPEN_STORES = 64
"""Each S3 store has connections of its own, and Lambda allows 1,024 open files."""


class Stores:
    """``StoreResolver``: ``s3://`` with credentials for that bucket alone, ``minio://`` with the function's own,
    ``nfs://`` as a directory."""

    def __init__(self, settings: Settings, registered: "OpenStores | None" = None) -> None:
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
        scheme, _, rest = uri.partition("://")
        bucket = tenant.id.replace("_", "-")
        if store_id_of(tenant.storage_uri) and scheme in SCHEMES and rest.startswith(f"{bucket}/"):
            with self._opening:
                return self._store(tenant.id, f"{scheme}://{bucket}")
        return self.for_tenant(tenant)

    def _open(self, tenant_id: str, root: str) -> ObjectStore:
        scheme, _, bucket = root.partition("://")
        # One name, never a path: a store inside another one, or none at all, would show a tenant what is not its own.
        if not BUCKET_NAME.fullmatch(bucket):
            raise TenantStoreDenied(f"{bucket!r} is not the name of a bucket")
        own = self._settings
        match scheme:
            case "s3":
                return self._open_scoped(tenant_id, root, bucket)
            case "minio":
                from deeplens.aws.clients import client
                from deeplens.storage.s3 import S3Store

                s3 = client("s3", own, own.s3_endpoint_url)
                return S3Store(s3, root, own.aws_region, installation=own.installation_id)
            case "nfs":
                from deeplens.storage.directory import DirectoryStore

                return DirectoryStore(
                    own.nfs_root / bucket,
                    root,
                    own.public_url,
                    own.url_signing_key,
                    installation=own.installation_id,
                )
        raise TenantStoreDenied(f"no provider for {scheme}:// stores; known are s3, minio and nfs")

    def _open_scoped(self, tenant_id: str, root: str, bucket: str) -> ObjectStore:
        from deeplens.aws.clients import client, scoped_client
        from deeplens.storage.s3 import S3Store
        from deeplens.storage.scope import BucketCredentials

        own = self._settings
        if not own.tenant_storage_role_arn:
            raise StoreUnavailable("TENANT_STORAGE_ROLE_ARN is not set")
        credentials = BucketCredentials(client("sts", own), own.tenant_storage_role_arn, tenant_id, bucket)
        s3 = scoped_client("s3", own, credentials, own.s3_endpoint_url)
        return S3Store(s3, root, own.aws_region, credentials.seconds_left, own.object_queue_arn, own.installation_id)
