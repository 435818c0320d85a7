"""deeplens.vectors.indexing → one upsert per tenant, model and batch → deeplens.processing.completed"""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar

from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Failed, Outcome, followed_by, merge
from deeplens.embedding.model import ModelRef
from deeplens.errors import ModelMismatch, PipelineError
from deeplens.events.images import (
    FeatureExtractionRequested,
    ProcessingCompleted,
    ProcessingMetrics,
    StageTimes,
    VectorIndexingRequested,
)
from deeplens.images.current import deleted_ids, drop_deleted, split_current
from deeplens.images.model import ImageRecord, StageResult, Step
from deeplens.images.payload import payload_of
from deeplens.images.ports import ImageRepository
from deeplens.images.requests import extraction_request
from deeplens.rollouts.model import BackfillWindow, VectorState, VectorStates, VectorStep
from deeplens.tenants.batch import by_tenant
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory
from deeplens.vectors.ports import Point, VectorIndex


@dataclass(slots=True)
class _Job:
    """One vector in this stage: its image's row, its model, and how it ended if it did."""

    event: VectorIndexingRequested
    row: ImageRecord
    model: ModelRef
    ended: Outcome | None = None

    @property
    def completed_before(self) -> bool:
        """Whether this generation's completion was published and consumed before; it is metered once."""
        return (self.row.generation, self.row.step) >= (self.event.effective_generation, Step.COMPLETED)


@dataclass(frozen=True)
class Index:
    """Make embeddings searchable.

    Consumes ``VectorIndexingRequested``, emits ``ProcessingCompleted``; writes one point per image and model. Tags and
    metadata come from the image's row, so that a change made in mid-pipeline is kept. While a model is rolled out, its
    finished vectors release the next images of the back-fill, as ``FeatureExtractionRequested``.
    """

    name: ClassVar = "index"
    consumes: ClassVar = VectorIndexingRequested

    tenants: TenantDirectory
    images: ImageRepository
    index: VectorIndex
    vector_states: VectorStates
    backfill_window: BackfillWindow
    clock: Clock

    def __call__(self, batch: Sequence[VectorIndexingRequested]) -> list[Outcome]:
        return by_tenant(batch, self.tenants, self._index_tenant)

    def _index_tenant(self, tenant: Tenant, batch: Sequence[VectorIndexingRequested]) -> list[Outcome]:
        started = time.perf_counter()
        if any(model_of(event, tenant) not in tenant.models for event in batch):
            # A rollout that began, or was cut over, after the row was read.
            tenant = self.tenants.get(tenant.id, fresh=True)
        work, ended = split_current(batch, self.images.find(tenant, [event.image_id for event in batch]))
        jobs = [_Job(event, row, model_of(event, tenant), model_mismatch(event, tenant)) for event, row in work]
        self._upsert(tenant, [job for job in jobs if job.ended is None])
        written = [job for job in jobs if job.ended is None]
        seconds = round((time.perf_counter() - started) / max(1, len(written)), 6)
        searchable = self._record(tenant, written, seconds)
        deleted = self._repair_raced(tenant, written)
        for job in completions(jobs, searchable, tenant.model):
            job.ended = self._completed(job, tenant, seconds)
        outcomes = merge(len(batch), ended, [job.ended or Done() for job in jobs])
        return followed_by(drop_deleted(outcomes, batch, deleted), self._next_of_backfill(tenant, written))

    def _upsert(self, tenant: Tenant, jobs: Sequence[_Job]) -> None:
        """Write the points, model by model; a collection that rejects them fails its own events only."""
        # The searched model comes last: when it completes an image, the other model's vector is stored as well.
        for model in reversed(tenant.models):
            group, owner = [job for job in jobs if job.model == model], tenant.using(model)
            points = [Point(job.row.id, job.event.vectors, payload_of(job.row, owner)) for job in group]
            try:
                self.index.upsert(owner, points)
            except PipelineError as error:
                for job in group:
                    job.ended = Failed(error)

    def _record(self, tenant: Tenant, jobs: Sequence[_Job], seconds: float) -> set[str]:
        """Record the vectors; returns the images that can be searched from now on."""
        indexed = VectorStep.INDEXED
        states = [VectorState(job.row.id, job.model, job.event.effective_generation, indexed) for job in jobs]
        self.vector_states.record(tenant, states)
        searchable = {job.row.id for job in jobs if job.model == tenant.model}
        # After a cut-over in mid-flight, the vector that is searched now was written before, as the target's.
        late = {job.row.id for job in jobs if job.row.step < Step.INDEXED} - searchable
        if late:
            searchable |= self.vector_states.indexed(tenant, tenant.model, sorted(late))
        now, changes = self.clock.now(), {"model": tenant.model.name, "model_version": tenant.model.version}
        results = [
            StageResult(
                job.row.id, job.event.effective_generation, Step.INDEXED, self.name, now, seconds, changes=dict(changes)
            )
            for job in jobs
            if job.row.id in searchable
        ]
        self.images.advance(tenant, results)
        return searchable

    def _repair_raced(self, tenant: Tenant, jobs: Sequence[_Job]) -> set[str]:
        """Undo points of images deleted meanwhile and refresh payloads that changed; returns the deleted ids."""
        now = self.images.find(tenant, [job.row.id for job in jobs])
        deleted = deleted_ids(now)
        changed = {
            job.row.id: latest
            for job in jobs
            if isinstance(latest := now.get(job.row.id), ImageRecord) and latest.revision != job.row.revision
        }
        for owner in map(tenant.using, tenant.models):
            if deleted:
                self.index.delete(owner, sorted(deleted))
            for latest in changed.values():
                self.index.replace_payload(owner, latest.id, payload_of(latest, owner))
        return deleted

    def _next_of_backfill(self, tenant: Tenant, jobs: Sequence[_Job]) -> list[FeatureExtractionRequested]:
        target = tenant.target
        if target is None or all(job.model != target for job in jobs):
            return []
        now = self.clock.now()
        released = self.vector_states.release(tenant, target, self.backfill_window)
        return [extraction_request(tenant, id_, generation, target, now) for id_, generation in released]

    def _completed(self, job: _Job, tenant: Tenant, seconds: float) -> Done:
        event, now, times = job.event, self.clock.now(), job.event.times or StageTimes()
        elapsed = now - (times.accepted_at or job.row.uploaded_at)
        completed = ProcessingCompleted(
            image_id=event.image_id,
            tenant_id=event.tenant_id,
            generation=event.generation,
            processing_time=max(0.0, round(elapsed.total_seconds(), 6)),
            metrics=ProcessingMetrics.model_validate({**dict(times), "indexing_time": seconds}),
            completed_at=now,
            model=tenant.model.name,
            model_version=tenant.model.version,
        )
        return Done((completed,))


def completions(jobs: Sequence[_Job], searchable: Collection[str], searched: ModelRef) -> list[_Job]:
    """The jobs that complete their image: one per image of a batch, the searched model's if both are there."""
    with_searched_model = {job.row.id for job in jobs if job.model == searched}
    return [
        job
        for job in jobs
        if job.ended is None
        and job.row.id in searchable
        and not job.completed_before
        and (job.model == searched or job.row.id not in with_searched_model)
    ]


def model_of(event: VectorIndexingRequested, tenant: Tenant) -> ModelRef:
    """The model of a vector; the tenant's if an older release did not name it."""
    name, version = event.model or tenant.model.name, event.model_version or tenant.model.version
    return ModelRef(name, version, event.dimensions)


def model_mismatch(event: VectorIndexingRequested, tenant: Tenant) -> Failed | None:
    """Why a vector must not enter a collection of the tenant: another model, another version, another length."""
    model = model_of(event, tenant)
    if model not in tenant.models:
        known = ", ".join(f"{own.name} {own.version} ({own.dimensions})" for own in tenant.models)
        return Failed(ModelMismatch(f"vector of {model.name} {model.version} ({model.dimensions}), tenant has {known}"))
    if len(event.vectors) != event.dimensions:
        return Failed(ModelMismatch(f"vector of {len(event.vectors)} values, {event.dimensions} announced"))
    return None
