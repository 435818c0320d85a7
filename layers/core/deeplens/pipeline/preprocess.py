"""deeplens.images.uploaded → standard JPEG and thumbnails → deeplens.features.extraction"""

import hashlib
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import ClassVar

from deeplens.common.batch import followed_by, in_parallel, merge
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Outcome, attempt
from deeplens.duplicates.model import Duplicates
from deeplens.errors import FileTooLarge, ObjectChanged
from deeplens.events.images import ImageUploaded, StageTimes
from deeplens.images.current import buried, split_current, without_buried
from deeplens.images.keys import derived_keys, processed_key, thumbnail_key
from deeplens.images.model import LAST_GENERATION, ImageRecord, StageResult, Step, Tombstone
from deeplens.images.ports import ImageRepository, PendingDue, PendingImages
from deeplens.images.requests import extraction_request
from deeplens.imaging import Limits, Standardised, standardise
from deeplens.storage.ports import ObjectStore, StoreResolver
from deeplens.tenants.batch import by_tenant
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory


class Preprocess:
    """Turn uploaded originals into standard JPEGs and thumbnails.

    Consumes ``ImageUploaded``, emits ``FeatureExtractionRequested`` for each model of the tenant; writes ``processed/``
    and ``thumbnails/`` objects, and keeps the pHash while the pixels are at hand. Safe to repeat: the same event writes
    the same objects and emits the same event. An image that has ended is pending no longer, whatever sent it once more:
    its tenant's next waiting ``ImageUploaded`` is released.
    """

    name: ClassVar = "preprocess"
    consumes: ClassVar = ImageUploaded

    def __init__(
        self,
        tenants: TenantDirectory,
        stores: StoreResolver,
        images: ImageRepository,
        pending: PendingImages,
        pending_due: PendingDue,
        duplicates: Duplicates,
        workers: Executor,
        limits: Limits,
        clock: Clock,
    ) -> None:
        self._tenants, self._stores, self._images = tenants, stores, images
        self._duplicates, self._pending, self._pending_due = duplicates, pending, pending_due
        self._workers, self._limits, self._clock = workers, limits, clock

    def __call__(self, batch: Sequence[ImageUploaded]) -> list[Outcome]:
        return by_tenant(batch, self._tenants, self._preprocess_tenant)

    def _preprocess_tenant(self, tenant: Tenant, batch: Sequence[ImageUploaded]) -> list[Outcome]:
        ids = [event.image_id for event in batch]
        found = self._images.find(tenant, ids)
        work, ended = split_current(batch, found)
        store = self._stores.for_tenant(tenant)
        results: list[StageResult] = []
        hashes: dict[str, int] = {}

        def one(pair: tuple[ImageUploaded, ImageRecord]) -> Outcome:
            return attempt(lambda: self._preprocess_one(tenant, store, pair[0], results, hashes))

        outcomes = merge(len(batch), ended, in_parallel(self._workers, one, work))
        self._duplicates.keep_hashes(tenant, hashes)
        self._images.advance(tenant, results)
        gone = buried(self._images.find(tenant, [result.image_id for result in results]))
        store.delete(key for image_id in gone for key in derived_keys(image_id))
        return self._settled(batch, without_buried(outcomes, batch, gone), found)

    def _settled(
        self, batch: Sequence[ImageUploaded], outcomes: list[Outcome], found: dict[str, ImageRecord | Tombstone]
    ) -> list[Outcome]:
        over = {
            (event.tenant_id, event.image_id): row.generation if isinstance(row, ImageRecord) else LAST_GENERATION
            for event, outcome in zip(batch, outcomes, strict=True)
            if isinstance(outcome, Done) and has_ended(row := found.get(event.image_id))
        }
        if not over:
            return outcomes
        due = self._clock.now() + self._pending_due
        return followed_by(outcomes, self._pending.finish([*over], due, [*over.values()]))

    def _preprocess_one(
        self,
        tenant: Tenant,
        store: ObjectStore,
        event: ImageUploaded,
        results: list[StageResult],
        hashes: dict[str, int],
    ) -> Outcome:
        started = time.perf_counter()
        original = self._original(tenant, event)
        image = standardise(original, self._limits)
        _write_derived(store, event.image_id, image)
        hashes[event.image_id] = image.perceptual_hash
        seconds = round(time.perf_counter() - started, 6)
        now = self._clock.now()
        results.append(
            StageResult(
                event.image_id,
                event.effective_generation,
                Step.PREPROCESSED,
                self.name,
                now,
                seconds,
                changes={
                    "width": image.width,
                    "height": image.height,
                    "format": image.format,
                    "mime_type": image.mime_type,
                    # Of an object that nobody has read before.
                    "sha256": hashlib.sha256(original).hexdigest(),
                },
            )
        )
        times = StageTimes(accepted_at=event.uploaded_at, preprocessing_time=seconds)
        return Done(
            tuple(
                extraction_request(tenant, event.image_id, event.generation, model, now, times)
                for model in tenant.models
            )
        )

    def _original(self, tenant: Tenant, event: ImageUploaded) -> bytes:
        """The file, of the tenant's own store or of one that it registered, where it may have become another one."""
        source = self._stores.holding(tenant, event.storage_path)
        key = source.key_of(event.storage_path)
        if not event.storage_path.startswith(f"{tenant.storage_uri}/"):
            info, expected = source.head(key), event.metadata.get("etag")
            if expected is not None and info.etag != expected:
                raise ObjectChanged(f"{key} was replaced; what stands there now is another image")
            if info.size_bytes > self._limits.max_bytes:
                raise FileTooLarge(f"the file has {info.size_bytes} bytes; at most {self._limits.max_bytes}")
        return source.get(key)


def has_ended(row: ImageRecord | Tombstone | None) -> bool:
    return isinstance(row, Tombstone) or (row is not None and row.step >= Step.FAILED)


def _write_derived(store: ObjectStore, image_id: str, image: Standardised) -> None:
    store.put(processed_key(image_id), image.jpeg, "image/jpeg")
    store.put(thumbnail_key(image_id, "small"), image.small, "image/jpeg")
    store.put(thumbnail_key(image_id, "medium"), image.medium, "image/jpeg")
