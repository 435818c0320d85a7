"""deeplens.vectors.indexing → one upsert per tenant and batch → deeplens.processing.completed"""

import time
from collections.abc import Sequence
from typing import ClassVar

from deeplens.contracts.events import (
    ProcessingCompleted,
    ProcessingMetrics,
    StageTimes,
    VectorIndexingRequested,
)
from deeplens.domain import ImageRecord, Point, StageResult, Step, Tenant
from deeplens.errors import ModelMismatch
from deeplens.pipeline.batch import buried, by_tenant, merge, split_current, without_buried
from deeplens.pipeline.outcome import Done, Failed, Outcome
from deeplens.ports import Clock, ImageRepository, TenantDirectory, VectorIndex
from deeplens.vectors.payload import payload_of

type Work = list[tuple[VectorIndexingRequested, ImageRecord]]


class Index:
    """Make embeddings searchable.

    Consumes ``VectorIndexingRequested``, emits ``ProcessingCompleted``; writes one point per image. Tags and metadata
    come from the image's row, so that a change made in mid-pipeline is kept.
    """

    name: ClassVar = "index"
    consumes: ClassVar = VectorIndexingRequested

    def __init__(self, tenants: TenantDirectory, images: ImageRepository, index: VectorIndex, clock: Clock) -> None:
        self._tenants, self._images, self._index, self._clock = tenants, images, index, clock

    def __call__(self, batch: Sequence[VectorIndexingRequested]) -> list[Outcome]:
        return by_tenant(batch, self._tenants, self._index_tenant)

    def _index_tenant(self, tenant: Tenant, batch: Sequence[VectorIndexingRequested]) -> list[Outcome]:
        started = time.perf_counter()
        work, ended = split_current(batch, self._images.find(tenant, [event.image_id for event in batch]))
        refused = {id(event): refusal(event, tenant) for event, _ in work}
        good: Work = [(event, row) for event, row in work if refused[id(event)] is None]
        self._index.upsert(tenant, [_point(event, row, tenant) for event, row in good])
        seconds = round((time.perf_counter() - started) / max(1, len(good)), 6)
        self._advance(tenant, good, seconds)
        gone = self._mend_raced(tenant, good)
        worked = [refused[id(event)] or self._completed(event, row, seconds) for event, row in work]
        return without_buried(merge(len(batch), ended, worked), batch, gone)

    def _advance(self, tenant: Tenant, work: Work, seconds: float) -> None:
        now = self._clock.now()
        self._images.advance(
            tenant,
            [
                StageResult(
                    event.image_id,
                    event.effective_generation,
                    Step.INDEXED,
                    self.name,
                    now,
                    seconds,
                    changes={"model": tenant.model.name, "model_version": tenant.model.version},
                )
                for event, _ in work
            ],
        )

    def _mend_raced(self, tenant: Tenant, work: Work) -> set[str]:
        """Undo points of images deleted meanwhile and refresh payloads that changed; returns the deleted ids."""
        now = self._images.find(tenant, [row.id for _, row in work])
        gone = buried(now)
        if gone:
            self._index.delete(tenant, sorted(gone))
        for event, row in work:
            latest = now.get(event.image_id)
            if isinstance(latest, ImageRecord) and latest.revision != row.revision:
                self._index.replace_payload(tenant, row.id, payload_of(latest, tenant))
        return gone

    def _completed(self, event: VectorIndexingRequested, row: ImageRecord, seconds: float) -> Outcome:
        now, times = self._clock.now(), event.times or StageTimes()
        waited = now - (times.accepted_at or row.uploaded_at)
        completed = ProcessingCompleted(
            image_id=event.image_id,
            tenant_id=event.tenant_id,
            generation=event.generation,
            processing_time=max(0.0, round(waited.total_seconds(), 6)),
            metrics=ProcessingMetrics(
                preprocessing_time=times.preprocessing_time,
                extraction_time=times.extraction_time,
                indexing_time=seconds,
            ),
            completed_at=now,
            model=event.model,
            model_version=event.model_version,
        )
        return Done((completed,))


def refusal(event: VectorIndexingRequested, tenant: Tenant) -> Failed | None:
    """Why a vector must not enter the tenant's collection: another model, another version, another length."""
    model = tenant.model
    if (event.model or model.name, event.model_version or model.version) != (model.name, model.version):
        return Failed(
            ModelMismatch(f"vector of {event.model} {event.model_version}, collection of {model.name} {model.version}")
        )
    if not len(event.vectors) == event.dimensions == model.dimensions:
        return Failed(ModelMismatch(f"vector of {len(event.vectors)} values, collection of {model.dimensions}"))
    return None


def _point(event: VectorIndexingRequested, row: ImageRecord, tenant: Tenant) -> Point:
    return Point(event.image_id, event.vectors, payload_of(row, tenant))
