"""Locating the original of an image or a video."""

from typing import Protocol

from deeplens.errors import InvalidEvent
from deeplens.http.content import content_not_found
from deeplens.storage.ports import ObjectStore, StoreResolver
from deeplens.tenants.model import Tenant


class Original(Protocol):
    """An image or a video: what was uploaded, and where it was stored."""

    @property
    def id(self) -> str: ...
    @property
    def storage_path(self) -> str: ...


def locate(stores: StoreResolver, tenant: Tenant, original: Original) -> tuple[ObjectStore, str]:
    """The store of the tenant that holds an original, and its key there. Raises 404 when the store was removed."""
    try:
        store = stores.holding(tenant, original.storage_path)
        return store, store.key_of(original.storage_path)
    except InvalidEvent:
        # The tenant removed its customer-owned store.
        raise content_not_found(original.id) from None
