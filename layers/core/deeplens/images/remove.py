"""Maintenance ``delete``: removes objects, vectors and rows of images."""

from collections.abc import Iterator, Sequence
from typing import Any

from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Failed, Outcome
from deeplens.errors import InvalidEvent
from deeplens.events.maintenance import ImageMaintenance
from deeplens.images.keys import derived_keys, original_prefix
from deeplens.images.model import Tombstone
from deeplens.images.ports import ImageRepository
from deeplens.images.requests import ACTIONS
from deeplens.storage.ports import ObjectStore, StoreResolver
from deeplens.tenants.model import Tenant
from deeplens.vectors.ports import VectorIndex

type Receipt = dict[str, Any]


class DeleteImages:
    """Remove originals, derived files, vectors and rows of images, and store receipts. Safe to repeat."""

    def __init__(self, stores: StoreResolver, images: ImageRepository, index: VectorIndex, clock: Clock) -> None:
        self._stores, self._images, self._index, self._clock = stores, images, index, clock

    def __call__(self, tenant: Tenant, batch: Sequence[ImageMaintenance]) -> list[Outcome]:
        outcomes = [check(event) for event in batch]
        good = [event for event, outcome in zip(batch, outcomes, strict=True) if isinstance(outcome, Done)]
        tombstones = self._mark_deleted(tenant, good)
        now = self._clock.now().isoformat()
        receipts = {i: t.receipt or {"deletedAt": now, "objects": [], "vectors": 0} for i, t in tombstones.items()}
        ids = {action: [i for i in tombstones if action in _actions(good, i)] for action in ACTIONS}
        self._delete_objects(tenant, ids["delete_minio_files"], receipts)
        self._delete_vectors(tenant, ids["delete_qdrant_vectors"], receipts)
        self._images.delete_rows(tenant, {i: receipts[i] for i in ids["cleanup_database"]})
        return outcomes

    def _mark_deleted(self, tenant: Tenant, events: Sequence[ImageMaintenance]) -> dict[str, Tombstone]:
        """The tombstones of the images to delete. Requests that did not come through the API write them here."""
        ids = [event.image_id for event in events if event.image_id]
        live = {i for i, row in self._images.find(tenant, ids).items() if not isinstance(row, Tombstone)}
        for image_id in live:
            self._images.mark_deleted(tenant, image_id, self._clock.now())
        found = self._images.find(tenant, ids)
        return {image_id: row for image_id, row in found.items() if isinstance(row, Tombstone)}

    def _delete_objects(self, tenant: Tenant, ids: Sequence[str], receipts: dict[str, Receipt]) -> None:
        store = self._stores.for_tenant(tenant)
        for image_id in ids:
            keys = list(objects_of(store, image_id))
            store.delete(keys)
            receipts[image_id] = {**receipts[image_id], "objects": sorted({*receipts[image_id]["objects"], *keys})}

    def _delete_vectors(self, tenant: Tenant, ids: Sequence[str], receipts: dict[str, Receipt]) -> None:
        if not ids:
            return
        for owner in map(tenant.using, tenant.models):
            present = self._index.existing(owner, ids)
            self._index.delete(owner, ids)
            for image_id in present:
                receipt = receipts[image_id]
                models = sorted({*receipt.get("models", ()), f"{owner.model.name} {owner.model.version}"})
                receipts[image_id] = {**receipt, "vectors": receipt["vectors"] + 1, "models": models}


def check(event: ImageMaintenance) -> Outcome:
    """``Done`` if this stage knows the subject and the actions, else ``Failed``."""
    if event.subject not in (None, "image"):
        return Failed(InvalidEvent(f"unknown maintenance 'delete' of {event.subject}"))
    unknown = sorted(set(event.actions) - set(ACTIONS))
    return Failed(InvalidEvent(f"unknown actions {unknown}; known are {list(ACTIONS)}")) if unknown else Done()


def _actions(events: Sequence[ImageMaintenance], image_id: str) -> set[str]:
    """All actions requested for an image; an event without actions requests all of them."""
    return {action for event in events if event.image_id == image_id for action in event.actions or ACTIONS}


def objects_of(store: ObjectStore, image_id: str) -> Iterator[str]:
    """The keys of all objects of an image."""
    for prefix in (original_prefix(image_id), *derived_keys(image_id)):
        yield from (entry.key for entry in store.list(prefix))
