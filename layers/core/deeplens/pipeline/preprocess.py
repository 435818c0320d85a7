"""deeplens.images.uploaded → standard JPEG and thumbnails → deeplens.features.extraction"""

import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Failed, Outcome, attempt, followed_by, in_parallel, merge
from deeplens.duplicates.model import Duplicates
from deeplens.errors import DecoderCrashed, FileTooLarge, ObjectChanged
from deeplens.events.images import ImageUploaded, StageTimes
from deeplens.images.current import deleted_ids, drop_deleted, split_current
from deeplens.images.keys import derived_keys, processed_key, thumbnail_key
from deeplens.images.model import LAST_GENERATION, ImageRecord, StageResult, Step, Tombstone
from deeplens.images.ports import ImageRepository
from deeplens.images.requests import AdmitImages, extraction_request
from deeplens.imaging.decoder import ImageDecoder
from deeplens.imaging.limits import Limits
from deeplens.imaging.model import Standardised
from deeplens.storage.ports import ObjectStore, StoreResolver
from deeplens.tenants.batch import by_tenant
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory

MAX_STARTS = 5
"""Starts of one image that ended the process: the next one would end it again."""


@dataclass(frozen=True)
class Preprocess:
    """Turn uploaded originals into standard JPEGs and thumbnails.

    Consumes ``ImageUploaded``, emits ``FeatureExtractionRequested`` for each model of the tenant; writes ``processed/``
    and ``thumbnails/`` objects, and stores the pHash. Safe to repeat: the same event writes the same objects and emits
    the same event. An event of an image that has ended releases its tenant's next waiting ``ImageUploaded``.
    """

    name: ClassVar = "preprocess"
    consumes: ClassVar = ImageUploaded

    # The first, so that its child starts before anything reads a secret.
    decoder: ImageDecoder
    tenants: TenantDirectory
    stores: StoreResolver
    images: ImageRepository
    admit_images: AdmitImages
    duplicates: Duplicates
    workers: Executor
    limits: Limits
    clock: Clock

    def __call__(self, batch: Sequence[ImageUploaded]) -> list[Outcome]:
        return by_tenant(batch, self.tenants, partial(self._preprocess_tenant, alone=len(batch) == 1))

    def _preprocess_tenant(self, tenant: Tenant, batch: Sequence[ImageUploaded], *, alone: bool) -> list[Outcome]:
        found = self.images.find(tenant, [event.image_id for event in batch])
        work, ended = split_current(batch, found)
        store = self.stores.for_tenant(tenant)
        results: list[StageResult] = []
        hashes: dict[str, int] = {}

        def preprocess(pair: tuple[ImageUploaded, ImageRecord]) -> Outcome:
            return attempt(lambda: self._preprocess_image(tenant, store, pair[0], results, hashes))

        if alone and work:
            done = [self._counted(tenant, work[0][0].image_id, lambda: preprocess(work[0]))]
        else:
            done = in_parallel(self.workers, preprocess, work)
        outcomes = merge(len(batch), ended, done)
        self.duplicates.keep_hashes(tenant, hashes)
        self.images.advance(tenant, results)
        deleted = deleted_ids(self.images.find(tenant, [result.image_id for result in results]))
        store.delete(key for image_id in deleted for key in derived_keys(image_id))
        return self._release(batch, drop_deleted(outcomes, batch, deleted), found)

    def _counted(self, tenant: Tenant, image_id: str, work: Callable[[], Outcome]) -> Outcome:
        """Work on an image unless that ended the process several times.

        Only an image that is alone in its batch is counted: a batch that ended the process comes again in halves, so
        that the image which ends it comes alone at last, and no other one is blamed for it.
        """
        try:
            if self.images.start(tenant, image_id) > MAX_STARTS:
                return Failed(DecoderCrashed(f"the file ended its process {MAX_STARTS} times"))
            return work()
        finally:
            self.images.stop(tenant, image_id)

    def _release(
        self, batch: Sequence[ImageUploaded], outcomes: list[Outcome], found: dict[str, ImageRecord | Tombstone]
    ) -> list[Outcome]:
        """Release waiting images in place of those that had ended before."""
        ended = {
            (event.tenant_id, event.image_id): row.generation if isinstance(row, ImageRecord) else LAST_GENERATION
            for event, outcome in zip(batch, outcomes, strict=True)
            if isinstance(outcome, Done) and has_ended(row := found.get(event.image_id))
        }
        return followed_by(outcomes, self.admit_images.finish([*ended], [*ended.values()]))

    def _preprocess_image(
        self,
        tenant: Tenant,
        store: ObjectStore,
        event: ImageUploaded,
        results: list[StageResult],
        hashes: dict[str, int],
    ) -> Outcome:
        started = time.perf_counter()
        original = self._original(tenant, event)
        image = self.decoder.standardise(original)
        _write_derived(store, event.image_id, image)
        hashes[event.image_id] = image.perceptual_hash
        seconds = round(time.perf_counter() - started, 6)
        now = self.clock.now()
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
                    # The object of a registered store is read here for the first time.
                    "sha256": hashlib.sha256(original).hexdigest(),
                },
            )
        )
        times = StageTimes(accepted_at=event.uploaded_at, preprocessing_time=seconds)
        models = tenant.models
        return Done(
            tuple(extraction_request(tenant, event.image_id, event.generation, model, now, times) for model in models)
        )

    def _original(self, tenant: Tenant, event: ImageUploaded) -> bytes:
        """Read the original. In a store that the tenant registered, it may have been replaced since."""
        source = self.stores.holding(tenant, event.storage_path)
        key = source.key_of(event.storage_path)
        if not event.storage_path.startswith(f"{tenant.storage_uri}/"):
            info, expected = source.head(key), event.metadata.get("etag")
            if expected is not None and info.etag != expected:
                raise ObjectChanged(f"{key} was replaced by another file after it was listed; that file is a new image")
            if info.size_bytes > self.limits.max_bytes:
                raise FileTooLarge(f"the file has {info.size_bytes} bytes; the limit is {self.limits.max_bytes}")
        return source.get(key)


def has_ended(row: ImageRecord | Tombstone | None) -> bool:
    return isinstance(row, Tombstone) or (row is not None and row.step >= Step.FAILED)


def _write_derived(store: ObjectStore, image_id: str, image: Standardised) -> None:
    store.put(processed_key(image_id), image.jpeg, "image/jpeg")
    store.put(thumbnail_key(image_id, "small"), image.small, "image/jpeg")
    store.put(thumbnail_key(image_id, "medium"), image.medium, "image/jpeg")
