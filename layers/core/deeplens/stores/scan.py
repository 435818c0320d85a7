"""Maintenance ``store-scan``: a tenant's own store listed, held against what is known of it, and followed."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import batched

from deeplens.common.stage import Done, Outcome, attempt
from deeplens.errors import InvalidEvent, StoreNotReady
from deeplens.events.maintenance import ImageMaintenance
from deeplens.images.ports import PendingImages
from deeplens.maintenance.model import MaintenanceRun, Report
from deeplens.maintenance.slices import Page
from deeplens.stores.model import RegisteredStores, StoreObjects, TenantStore, TenantStores
from deeplens.stores.observe import Observed, ObserveObjects, asked
from deeplens.tenants.model import Tenant

OBJECTS_AT_ONCE = 200
KIND_OF = {"new": "object-new", "changed": "object-changed", "ignored": "object-ignored"}


class ScanStore:
    """Accept what is new or changed, then look for what is gone.

    It accepts no more images than its window leaves room for among the tenant's pending ones, and rests until
    completions have made room. Cursors are ``store:phase:position``; a slice that a crash cut off is worked again from
    its beginning, which finds what it had accepted.

    Parameters
    ----------
    window : of the tenant's pending images, beyond which a scan accepts none.
    """

    def __init__(
        self,
        observe: ObserveObjects,
        stores: TenantStores,
        registered: RegisteredStores,
        store_objects: StoreObjects,
        pending: PendingImages,
        window: int,
    ) -> None:
        self._observe, self._stores, self._registered = observe, stores, registered
        self._objects, self._pending, self._window = store_objects, pending, window

    def pages(self, tenant: Tenant, run: MaintenanceRun, before: datetime) -> Iterator[Page]:  # noqa: ARG002
        store_id, phase, position = run.cursor.split(":", 2)
        store = ready_store(self._registered, tenant, store_id)
        if phase == "list":
            listed = False
            for page in self._listed(tenant, store, run.id, position):
                listed = page.rest
                yield page
            if listed:
                return
            position = ""
        yield from self._gone(tenant, store, run.id, position)

    def _listed(self, tenant: Tenant, store: TenantStore, run_id: str, after: str) -> Iterator[Page]:
        source = self._stores.registered(tenant, store)
        room = self._window - self._pending.count(tenant.id)
        for group in batched(source.list("", after), OBJECTS_AT_ONCE, strict=False):
            done = self._observe.present(tenant, store, group, run_id, max(0, room))
            room -= done.accepted
            after = group[done.seen - 1].key if done.seen else after
            full = done.seen < len(group)
            yield Page(f"{store.id}:list:{after}", report_of_objects(done), done.events, rest=full and not done.full)
            if done.full is not None:
                raise done.full
            if full:
                return

    def _gone(self, tenant: Tenant, store: TenantStore, run_id: str, after: str) -> Iterator[Page]:
        """Each is asked for by itself: it may have come since the listing passed its key."""
        source = self._stores.registered(tenant, store)
        while known := self._objects.unseen(tenant, store.id, run_id, after, OBJECTS_AT_ONCE):
            standing, missing = asked(source, [one.key for one in known])
            there = self._observe.present(tenant, store, standing, run_id)
            lost = [one for one in known if one.key in set(missing)]
            events = self._observe.gone(tenant, store, lost, run_id)
            after = known[-1].key
            counts = {"object-removed": len(lost)} if lost else {}
            yield Page(
                f"{store.id}:gone:{after}",
                report_of_objects(there, checked="known objects", extra=counts),
                (*there.events, *events),
            )


class LookAtObjects:
    """Maintenance ``store-objects``: keys of a tenant's own store that somebody says have changed."""

    def __init__(self, observe: ObserveObjects, registered: RegisteredStores) -> None:
        self._observe, self._registered = observe, registered

    def __call__(self, tenant: Tenant, batch: Sequence[ImageMaintenance]) -> list[Outcome]:
        return [attempt(lambda event=event: self._look(tenant, event)) for event in batch]  # type: ignore[misc]

    def _look(self, tenant: Tenant, event: ImageMaintenance) -> Outcome:
        if not event.job or not event.keys:
            raise InvalidEvent("store-objects names a store as job, and keys")
        try:
            store = ready_store(self._registered, tenant, event.job)
        except StoreNotReady:
            return Done(dropped="no such store, or not ready")
        return Done(self._observe.look(tenant, store, event.keys))


def ready_store(registered: RegisteredStores, tenant: Tenant, store_id: str) -> TenantStore:
    """A registered store that may be followed. Raises ``StoreNotReady``."""
    store = registered.find(tenant.id, store_id)
    if store is None or store.state != "ready" or store.mode != "reference":
        raise StoreNotReady(f"{store_id} is not registered, lacks permissions, or is DeepLens' own to write")
    return store


def report_of_objects(done: Observed, checked: str = "objects", extra: dict[str, int] | None = None) -> Report:
    found = {KIND_OF[kind]: count for kind, count in done.counts.items() if kind in KIND_OF} | (extra or {})
    followed = {kind: count for kind, count in found.items() if kind != "object-ignored"}
    return Report({checked: done.seen}, found, followed)
