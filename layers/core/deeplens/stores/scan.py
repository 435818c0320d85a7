"""Maintenance ``store-scan``: lists a registered store and compares it with the known objects."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import batched

from deeplens.common.stage import Done, Outcome, attempt_each
from deeplens.errors import InvalidEvent, StoreNotReady
from deeplens.events.maintenance import ImageMaintenance
from deeplens.images.ports import PendingImages
from deeplens.maintenance.model import MaintenanceRun, Report
from deeplens.maintenance.slices import Page
from deeplens.stores.model import RegisteredStores, ScanWindow, StoreObjects, TenantStore, TenantStores
from deeplens.stores.observe import Observed, ObserveObjects, look_up
from deeplens.tenants.model import Tenant

OBJECTS_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class ScanStore:
    """Accept new and changed objects, then look for those that disappeared.

    It accepts images within its window of the tenant's pending ones, and rests until completions have made room.
    Cursors are ``store:phase:position``. A slice is repeated after a crash, and finds what it had accepted.

    Parameters
    ----------
    window : number of the tenant's pending images beyond which a scan accepts none.
    """

    observe: ObserveObjects
    stores: TenantStores
    registered: RegisteredStores
    store_objects: StoreObjects
    pending: PendingImages
    window: ScanWindow

    def pages(self, tenant: Tenant, run: MaintenanceRun, before: datetime) -> Iterator[Page]:  # noqa: ARG002
        store_id, phase, position = run.cursor.split(":", 2)
        store = ready_store(self.registered, tenant, store_id)
        if phase == "list":
            if (yield from self._listed(tenant, store, run.id, position)):
                return
            position = ""
        yield from self._gone(tenant, store, run.id, position)

    def _listed(self, tenant: Tenant, store: TenantStore, run_id: str, after: str) -> Generator[Page, None, bool]:
        """Yield pages of existing objects; return whether the rest has to wait for room."""
        source = self.stores.registered(tenant, store)
        room = self.window - self.pending.count(tenant.id)
        for group in batched(source.list("", after), OBJECTS_AT_ONCE, strict=False):
            done = self.observe.present(tenant, store, group, run_id, max(0, room))
            room -= done.accepted
            after = group[done.seen - 1].key if done.seen else after
            full = done.seen < len(group)
            yield Page(f"{store.id}:list:{after}", report_of_objects(done), done.events, rest=full and not done.full)
            if done.full is not None:
                raise done.full
            if full:
                return True
        return False

    def _gone(self, tenant: Tenant, store: TenantStore, run_id: str, after: str) -> Iterator[Page]:
        """Look up each unseen object: it may have been created after the listing passed its key."""
        source = self.stores.registered(tenant, store)
        while known := self.store_objects.unseen(tenant, store.id, run_id, after, OBJECTS_AT_ONCE):
            existing, missing = look_up(source, [entry.key for entry in known])
            there = self.observe.present(tenant, store, existing, run_id)
            lost = [entry for entry in known if entry.key in set(missing)]
            events = self.observe.gone(tenant, store, lost, run_id)
            after = known[-1].key
            counts = {"object-removed": len(lost)} if lost else {}
            yield Page(
                f"{store.id}:gone:{after}",
                report_of_objects(there, checked="known objects", extra=counts),
                (*there.events, *events),
            )


@dataclass(frozen=True, slots=True)
class LookAtObjects:
    """Maintenance ``store-objects``: looks up keys of a registered store that a notification named."""

    observe: ObserveObjects
    registered: RegisteredStores

    def __call__(self, tenant: Tenant, batch: Sequence[ImageMaintenance]) -> list[Outcome]:
        return attempt_each(partial(self._look, tenant), batch)

    def _look(self, tenant: Tenant, event: ImageMaintenance) -> Outcome:
        if not event.job or not event.keys:
            raise InvalidEvent("store-objects names a store as job, and keys")
        try:
            store = ready_store(self.registered, tenant, event.job)
        except StoreNotReady:
            return Done(dropped="no such store, or not ready")
        return Done(self.observe.look(tenant, store, event.keys))


def ready_store(registered: RegisteredStores, tenant: Tenant, store_id: str) -> TenantStore:
    """A registered store in reference mode that is ready. Raises ``StoreNotReady``."""
    store = registered.find(tenant.id, store_id)
    if store is None or store.state != "ready" or store.mode != "reference":
        raise StoreNotReady(f"{store_id} is not registered, lacks permissions, or is managed by DeepLens")
    return store


def report_of_objects(done: Observed, checked: str = "objects", extra: dict[str, int] | None = None) -> Report:
    found = {f"object-{kind}": count for kind, count in done.counts.items() if kind != "same"} | (extra or {})
    followed = {kind: count for kind, count in found.items() if kind != "object-ignored"}
    return Report({checked: done.seen}, found, followed)
