"""A tenant's way from creation to its receipt of deletion. Each step is safe to repeat and noted when it is done."""

import time
from collections.abc import Callable
from datetime import timedelta
from itertools import batched
from typing import TYPE_CHECKING, Any, Protocol

from deeplens.common.ports import Clock, SecretStore
from deeplens.errors import DeepLensError, TenantStoreDenied
from deeplens.rollouts.model import Rollouts
from deeplens.storage.ports import StoreResolver
from deeplens.stores.model import RegisteredStores, secret_name
from deeplens.telemetry import logger
from deeplens.tenants.model import Tenant
from deeplens.tenants.records import PostgresTenantRecords, TenantRecord
from deeplens.vectors.ports import VectorIndex

if TYPE_CHECKING:
    from deeplens.provisioning.provision import Provisioning

UNSETTLED_AFTER = timedelta(seconds=30)
"""A creation under way is left alone for so long; a deletion waits until nobody remembers the tenant as active."""
BUDGET_SECONDS = 40.0
AT_ONCE = 100
OBJECTS_AT_ONCE = 1000


class LifecycleParts(Protocol):
    """Built by ``bootstrap``; the index, which is slow to import, only when a tenant is settled."""

    @property
    def clock(self) -> Clock: ...
    @property
    def tenant_records(self) -> PostgresTenantRecords: ...
    @property
    def provisioning(self) -> "Provisioning": ...
    @property
    def stores(self) -> StoreResolver: ...
    @property
    def index(self) -> VectorIndex: ...
    @property
    def rollouts(self) -> Rollouts: ...
    @property
    def registered_stores(self) -> RegisteredStores: ...
    @property
    def secret_store(self) -> SecretStore: ...


class OutOfTime(DeepLensError):
    """The rest is done by the next run."""


class TenantLifecycle:
    """Finishes creations that stopped half-way, and carries out deletions."""

    def __init__(self, parts: LifecycleParts, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._parts, self._monotonic = parts, monotonic

    def settle_due(self) -> None:
        """Carry on all that wait, within the budget. Raises ``DeepLensError`` when one could not be carried on."""
        deadline, failed = self._monotonic() + BUDGET_SECONDS, []
        for tenant_id in self._parts.tenant_records.unsettled(self._parts.clock.now() - UNSETTLED_AFTER, AT_ONCE):
            try:
                self.settle(tenant_id, deadline)
            except OutOfTime:
                break
            except Exception:
                logger().exception("tenant not settled", tenant_id=tenant_id)
                failed.append(tenant_id)
        if failed:
            raise DeepLensError(f"not settled: {', '.join(failed)}")

    def settle(self, tenant_id: str, deadline: float = float("inf")) -> None:
        """Carry on one. Raises ``OutOfTime``, and whatever a part says."""
        record = self._parts.tenant_records.find(tenant_id)
        if record is not None and record.status == "provisioning":
            self._parts.provisioning.resume(tenant_id)
        if record is not None and record.status == "deleting":
            self._delete(record, deadline)

    def _delete(self, record: TenantRecord, deadline: float) -> None:
        tenant = self._parts.provisioning.tenant(record.id)
        steps: dict[str, Callable[[], Any]] = {
            "vectors": lambda: self._drop_vectors(tenant),
            "objects": lambda: self._delete_objects(tenant, record, deadline),
            "storeCredentials": lambda: self._forget_credentials(tenant),
            "database": lambda: self._parts.provisioning.drop_database(tenant.id),
            "records": lambda: self._parts.tenant_records.erase(tenant.id),
        }
        for name, step in steps.items():
            if name not in record.progress:
                self._parts.tenant_records.done(record.id, name, step() or {})
        self._parts.tenant_records.finish_deletion(record.id, self._parts.clock.now())

    def _forget_credentials(self, tenant: Tenant) -> dict[str, Any]:
        """Of the stores that the tenant registered; nothing is removed from these."""
        stores = self._parts.registered_stores.of_tenant(tenant.id)
        for store in stores:
            for version in range(1, store.credentials_version + 1):
                self._parts.secret_store.delete(secret_name(store, version))
        return {"stores": len(stores)}

    def _drop_vectors(self, tenant: Tenant) -> dict[str, Any]:
        rollouts = self._parts.rollouts.of_tenant(tenant.id)
        models = {*tenant.models, *(model for one in rollouts for model in (one.source, one.target))}
        for model in models:
            self._parts.index.drop_collection(tenant.using(model))
        return {"collections": len(models)}

    def _delete_objects(self, tenant: Tenant, record: TenantRecord, deadline: float) -> dict[str, Any]:
        """Delete in groups, noting how far it came; a store that was never made has nothing.

        Raises ``StoreNotOwned`` before anything is deleted in a bucket that may be another installation's.
        """
        store = self._parts.stores.for_tenant(tenant)
        count = int(record.progress.get("objectsSoFar", 0))
        try:
            store.require_ours()
            for group in batched(store.list(), OBJECTS_AT_ONCE, strict=False):
                store.delete(one.key for one in group)
                count += len(group)
                self._parts.tenant_records.done(record.id, "objectsSoFar", count)
                if self._monotonic() > deadline:
                    raise OutOfTime("objects are left")
            store.remove()
        except TenantStoreDenied:
            logger().warning("store of a deleted tenant is gone already", tenant_id=tenant.id)
        return {"objects": count}
