"""A tenant's store by the scheme of its row."""

from functools import lru_cache

from deeplens.domain import Tenant
from deeplens.errors import TenantStoreDenied
from deeplens.ports import ObjectStore
from deeplens.settings import Settings
from deeplens.storage.keys import BUCKET


class Stores:
    """``StoreResolver``: ``s3://`` and ``minio://`` through boto3, ``nfs://`` as a directory."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = lru_cache(maxsize=256)(self._open)

    def for_tenant(self, tenant: Tenant) -> ObjectStore:
        """The tenant's store. Raises ``TenantStoreDenied`` when its row names none that can be used."""
        return self._store(tenant.storage_uri)

    def _open(self, root: str) -> ObjectStore:
        scheme, _, bucket = root.partition("://")
        # One name, never a path: a store inside another one, or none at all, would show a tenant what is not its own.
        if not BUCKET.fullmatch(bucket):
            raise TenantStoreDenied(f"{bucket!r} is not the name of a bucket")
        own = self._settings
        match scheme:
            case "s3" | "minio":
                from deeplens.aws import client
                from deeplens.storage.s3 import S3Store

                return S3Store(client("s3", own.s3_endpoint_url), root, own.aws_region)
            case "nfs":
                from deeplens.storage.directory import DirectoryStore

                return DirectoryStore(own.nfs_root / bucket, root, own.public_url, own.url_signing_key)
        raise TenantStoreDenied(f"no provider for {scheme}:// stores; known are s3, minio and nfs")
