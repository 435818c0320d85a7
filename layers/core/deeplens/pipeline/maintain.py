"""deeplens.images.maintenance → objects, vectors and rows of deleted images removed"""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, ClassVar

from deeplens.contracts.events import ImageMaintenance
from deeplens.domain import Tenant, Tombstone
from deeplens.errors import InvalidEvent
from deeplens.pipeline.batch import by_tenant, followed_by
from deeplens.pipeline.keys import derived_keys, original_prefix
from deeplens.pipeline.outcome import Done, Failed, Outcome
from deeplens.ports import (
    Clock,
    ImageRepository,
    ObjectStore,
    PendingImages,
    StoreResolver,
    TenantDirectory,
    VectorIndex,
)

type Receipt = dict[str, Any]


class Maintain:
    """Carry out ``delete``: original, derived files, vector and rows; a receipt stays on the tombstone.

    Consumes ``ImageMaintenance``, emits only the tenant's next waiting ``ImageUploaded``. Safe to repeat: what is
    already gone stays gone.
    """

    name: ClassVar = "maintain"
    consumes: ClassVar = ImageMaintenance

    def __init__(
        self,
        tenants: TenantDirectory,
        stores: StoreResolver,
        images: ImageRepository,
        index: VectorIndex,
        pending: PendingImages,
        pending_due: timedelta,
        clock: Clock,
    ) -> None:
        self._tenants, self._stores, self._images, self._index = tenants, stores, images, index
        self._pending, self._pending_due, self._clock = pending, pending_due, clock

    def __call__(self, batch: Sequence[ImageMaintenance]) -> list[Outcome]:
        outcomes = by_tenant(batch, self._tenants, self._maintain_tenant)
        ended = [
            (event.tenant_id, event.image_id)
            for event, outcome in zip(batch, outcomes, strict=True)
            if isinstance(outcome, Done) and event.image_id
        ]
        return followed_by(outcomes, self._pending.finish(ended, self._clock.now() + self._pending_due))

    def _maintain_tenant(self, tenant: Tenant, batch: Sequence[ImageMaintenance]) -> list[Outcome]:
        outcomes = [check(event) for event in batch]
        good = [event for event, outcome in zip(batch, outcomes, strict=True) if isinstance(outcome, Done)]
        known = self._bury(tenant, good)
        asked = {image_id: _actions(good, image_id) for image_id in known}
        receipts = {image_id: self._receipt(known[image_id]) for image_id in known}
        self._delete_objects(tenant, [i for i in known if "delete_minio_files" in asked[i]], receipts)
        self._delete_vectors(tenant, [i for i in known if "delete_qdrant_vectors" in asked[i]], receipts)
        self._images.erase(tenant, {i: receipts[i] for i in known if "cleanup_database" in asked[i]})
        return outcomes

    def _bury(self, tenant: Tenant, events: Sequence[ImageMaintenance]) -> dict[str, Tombstone]:
        """Tombstones of the images to delete, written where the request did not come through the API."""
        ids = [event.image_id for event in events if event.image_id]
        live = {i for i, row in self._images.find(tenant, ids).items() if not isinstance(row, Tombstone)}
        for image_id in live:
            self._images.bury(tenant, image_id, self._clock.now())
        found = self._images.find(tenant, ids)
        return {image_id: row for image_id, row in found.items() if isinstance(row, Tombstone)}

    def _receipt(self, tombstone: Tombstone) -> Receipt:
        return tombstone.receipt or {"deletedAt": self._clock.now().isoformat(), "objects": [], "vectors": 0}

    def _delete_objects(self, tenant: Tenant, ids: Sequence[str], receipts: dict[str, Receipt]) -> None:
        store = self._stores.for_tenant(tenant)
        for image_id in ids:
            keys = list(_objects_of(store, image_id))
            store.delete(keys)
            receipts[image_id] = {**receipts[image_id], "objects": sorted({*receipts[image_id]["objects"], *keys})}

    def _delete_vectors(self, tenant: Tenant, ids: Sequence[str], receipts: dict[str, Receipt]) -> None:
        present = self._index.existing(tenant, ids) if ids else set()
        if ids:
            self._index.delete(tenant, ids)
        for image_id in present:
            receipts[image_id] = {**receipts[image_id], "vectors": receipts[image_id]["vectors"] + 1}


ACTIONS = ("delete_minio_files", "delete_qdrant_vectors", "cleanup_database")


def check(event: ImageMaintenance) -> Outcome:
    """Whether this stage knows what is asked."""
    if event.maintenance_type != "delete" or event.subject not in (None, "image"):
        return Failed(InvalidEvent(f"unknown maintenance {event.maintenance_type!r} of {event.subject or 'image'}"))
    unknown = sorted(set(event.actions) - set(ACTIONS))
    return Failed(InvalidEvent(f"unknown actions {unknown}; known are {list(ACTIONS)}")) if unknown else Done()


def _actions(events: Sequence[ImageMaintenance], image_id: str) -> set[str]:
    """Everything asked for an image; naming no action means all."""
    return {action for event in events if event.image_id == image_id for action in event.actions or ACTIONS}


def _objects_of(store: ObjectStore, image_id: str) -> Iterator[str]:
    for prefix in (original_prefix(image_id), *derived_keys(image_id)):
        yield from (entry.key for entry in store.list(prefix))
