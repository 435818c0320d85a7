"""Registered stores and what is known of their objects, in dictionaries; held to the real ones' promises."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

from deeplens.errors import SecretNotFound
from deeplens.stores.model import KnownObject, ObjectState, TenantStore
from deeplens.tenants.model import Tenant

from tests.fakes.db import FakeDirectory


class FakeRegisteredStores:
    """``RegisteredStores``; ``set_storage_uri`` changes ``tenants``."""

    def __init__(self, tenants: FakeDirectory) -> None:
        self._tenants = tenants
        self.stores: dict[str, TenantStore] = {}

    def find(self, tenant_id: str, store_id: str) -> TenantStore | None:
        owned_store = self.stores.get(store_id)
        return owned_store if owned_store is not None and owned_store.tenant_id == tenant_id else None

    def of_tenant(self, tenant_id: str) -> list[TenantStore]:
        return sorted(
            (s for s in self.stores.values() if s.tenant_id == tenant_id), key=lambda owned_store: owned_store.id
        )

    def of_container(self, container: str) -> list[TenantStore]:
        found = (s for s in self.stores.values() if s.container == container and s.state == "ready")
        return sorted(found, key=lambda owned_store: owned_store.id)

    def save(self, store: TenantStore) -> None:
        known = self.stores.get(store.id)
        self.stores[store.id] = replace(store, notified_at=known.notified_at) if known else store

    def set_storage_uri(self, tenant_id: str, uri: str) -> None:
        self._tenants.add(replace(self._tenants.get(tenant_id), storage_uri=uri))

    def remove(self, tenant_id: str, store_id: str) -> None:
        if self.find(tenant_id, store_id):
            del self.stores[store_id]

    def notified(self, store_id: str, now: datetime) -> None:
        self.stores[store_id] = replace(self.stores[store_id], notified_at=now)


class FakeStoreObjects:
    """``StoreObjects``."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], dict[str, tuple[KnownObject, str | None]]] = {}

    def find(self, tenant: Tenant, store_id: str, keys: Collection[str]) -> dict[str, KnownObject]:
        rows = self._of(tenant, store_id)
        return {key: rows[key][0] for key in keys if key in rows}

    def save(self, tenant: Tenant, store_id: str, objects: Sequence[KnownObject], run_id: str | None = None) -> None:
        rows = self._of(tenant, store_id)
        for obj in objects:
            rows[obj.key] = (obj, run_id or rows.get(obj.key, (obj, None))[1])

    def unseen(self, tenant: Tenant, store_id: str, run_id: str, after: str, limit: int) -> list[KnownObject]:
        objects = [
            known
            for known, seen in self._of(tenant, store_id).values()
            if known.key.encode() > after.encode() and known.state in ("present", "removing") and seen != run_id
        ]
        return sorted(objects, key=lambda known: known.key.encode())[:limit]

    def in_state(self, tenant: Tenant, store_id: str, state: ObjectState, limit: int) -> list[KnownObject]:
        objects = [known for known, _ in self._of(tenant, store_id).values() if known.state == state]
        return sorted(objects, key=lambda known: known.key.encode())[:limit]

    def counts(self, tenant: Tenant, store_id: str) -> dict[str, int]:
        states = [known.state for known, _ in self._of(tenant, store_id).values()]
        return {state: states.count(state) for state in states}

    def forget(self, tenant: Tenant, store_id: str) -> None:
        self._rows.pop((tenant.id, store_id), None)

    def _of(self, tenant: Tenant, store_id: str) -> dict[str, tuple[KnownObject, str | None]]:
        return self._rows.setdefault((tenant.id, store_id), {})


class FakeSecrets:
    """``SecretStore`` in a dictionary."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def get(self, name: str) -> str:
        if name not in self.values:
            raise SecretNotFound(name)
        return self.values[name]

    def put(self, name: str, value: str) -> None:
        self.values[name] = value

    def delete(self, name: str) -> None:
        self.values.pop(name, None)
