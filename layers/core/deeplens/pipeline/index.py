"""deeplens.vectors.indexing → one upsert per tenant, model and batch → deeplens.processing.completed"""

import time
from collections.abc import Sequence
from typing import ClassVar

from deeplens.common.batch import followed_by, merge
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Failed, Outcome
from deeplens.embedding.model import ModelRef
from deeplens.errors import ModelMismatch, PipelineError
from deeplens.events.images import (
    FeatureExtractionRequested,
    ProcessingCompleted,
    ProcessingMetrics,
    StageTimes,
    VectorIndexingRequested,
)
from deeplens.images.current import buried, split_current, without_buried
from deeplens.images.model import ImageRecord, StageResult, Step
from deeplens.images.payload import payload_of
from deeplens.images.ports import ImageRepository
from deeplens.images.requests import extraction_request
from deeplens.rollouts.model import BackfillWindow, VectorState, VectorStates, VectorStep
from deeplens.tenants.batch import by_tenant
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory
from deeplens.vectors.ports import Point, VectorIndex

type Work = list[tuple[VectorIndexingRequested, ImageRecord]]


class Index:
    """Make embeddings searchable.

    Consumes ``VectorIndexingRequested``, emits ``ProcessingCompleted``; writes one point per image and model. Tags and
    metadata come from the image's row, so that a change made in mid-pipeline is kept. While a model is rolled out, its
    finished vectors release the next images of the back-fill, as ``FeatureExtractionRequested``.
    """

    name: ClassVar = "index"
    consumes: ClassVar = VectorIndexingRequested

    def __init__(
        self,
        tenants: TenantDirectory,
        images: ImageRepository,
        index: VectorIndex,
        vector_states: VectorStates,
        backfill_window: BackfillWindow,
        clock: Clock,
    ) -> None:
        self._tenants, self._images, self._index, self._clock = tenants, images, index, clock
        self._states, self._window = vector_states, backfill_window

    def __call__(self, batch: Sequence[VectorIndexingRequested]) -> list[Outcome]:
        return by_tenant(batch, self._tenants, self._index_tenant)

    def _index_tenant(self, tenant: Tenant, batch: Sequence[VectorIndexingRequested]) -> list[Outcome]:
        started = time.perf_counter()
        if any(model_of(event, tenant) not in tenant.models for event in batch):
            # A roll-out that began, or was cut over, after the row was read.
            tenant = self._tenants.get(tenant.id, fresh=True)
        work, ended = split_current(batch, self._images.find(tenant, [event.image_id for event in batch]))
        refused = {id(event): refusal(event, tenant) for event, _ in work}
        good = self._upsert(tenant, [pair for pair in work if refused[id(pair[0])] is None], refused)
        seconds = round((time.perf_counter() - started) / max(1, len(good)), 6)
        searchable = self._settle(tenant, good, seconds)
        gone = self._mend_raced(tenant, good)
        worked = [
            refused[id(event)]
            or (
                self._completed(event, row, tenant, seconds)
                if event.image_id in searchable and not is_completed(row, event)
                else Done()
            )
            for event, row in work
        ]
        outcomes = without_buried(merge(len(batch), ended, _once(work, worked, tenant)), batch, gone)
        return followed_by(outcomes, self._next_of_backfill(tenant, good))

    def _upsert(self, tenant: Tenant, work: Work, refused: dict[int, Failed | None]) -> Work:
        """Write the points, model by model; a collection that refuses fails its own events only."""
        written: Work = []
        # The searched model comes last: when it completes an image, the other model's vector stands as well.
        for model in reversed(tenant.models):
            mine = [(event, row) for event, row in work if model_of(event, tenant) == model]
            owner = tenant.using(model)
            try:
                self._index.upsert(owner, [Point(e.image_id, e.vectors, payload_of(row, owner)) for e, row in mine])
            except PipelineError as error:
                refused.update((id(event), Failed(error)) for event, _ in mine)
            else:
                written += mine
        return written

    def _settle(self, tenant: Tenant, work: Work, seconds: float) -> set[str]:
        """Record the vectors; returns the images that can be searched from now on."""
        self._states.record(
            tenant,
            [VectorState(e.image_id, model_of(e, tenant), e.effective_generation, VectorStep.INDEXED) for e, _ in work],
        )
        searchable = {event.image_id for event, _ in work if model_of(event, tenant) == tenant.model}
        # A cut-over in mid-flight: the vector that is searched now came first, as that of a model to be.
        late = {row.id for _, row in work if row.step < Step.INDEXED} - searchable
        if late:
            searchable |= self._states.indexed(tenant, tenant.model, sorted(late))
        now, changes = self._clock.now(), {"model": tenant.model.name, "model_version": tenant.model.version}
        self._images.advance(
            tenant,
            [
                StageResult(
                    row.id, event.effective_generation, Step.INDEXED, self.name, now, seconds, changes=dict(changes)
                )
                for event, row in work
                if row.id in searchable
            ],
        )
        return searchable

    def _mend_raced(self, tenant: Tenant, work: Work) -> set[str]:
        """Undo points of images deleted meanwhile and refresh payloads that changed; returns the deleted ids."""
        now = self._images.find(tenant, [row.id for _, row in work])
        gone = buried(now)
        changed = {
            row.id: latest
            for _, row in work
            if isinstance(latest := now.get(row.id), ImageRecord) and latest.revision != row.revision
        }
        for model in tenant.models:
            owner = tenant.using(model)
            if gone:
                self._index.delete(owner, sorted(gone))
            for latest in changed.values():
                self._index.replace_payload(owner, latest.id, payload_of(latest, owner))
        return gone

    def _next_of_backfill(self, tenant: Tenant, work: Work) -> list[FeatureExtractionRequested]:
        if tenant.target is None or all(model_of(event, tenant) != tenant.target for event, _ in work):
            return []
        now = self._clock.now()
        released = self._states.release(tenant, tenant.target, self._window)
        return [extraction_request(tenant, id_, generation, tenant.target, now) for id_, generation in released]

    def _completed(self, event: VectorIndexingRequested, row: ImageRecord, tenant: Tenant, seconds: float) -> Outcome:
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
            model=tenant.model.name,
            model_version=tenant.model.version,
        )
        return Done((completed,))


def is_completed(row: ImageRecord, event: VectorIndexingRequested) -> bool:
    """Whether this generation was completed before: its completion was published, consumed, and is metered once."""
    return (row.generation, row.step) >= (event.effective_generation, Step.COMPLETED)


def model_of(event: VectorIndexingRequested, tenant: Tenant) -> ModelRef:
    """The model of a vector; the tenant's where an older release did not say."""
    name, version = event.model or tenant.model.name, event.model_version or tenant.model.version
    return ModelRef(name, version, event.dimensions)


def refusal(event: VectorIndexingRequested, tenant: Tenant) -> Failed | None:
    """Why a vector must not enter a collection of the tenant: another model, another version, another length."""
    model = model_of(event, tenant)
    if model not in tenant.models:
        known = ", ".join(f"{own.name} {own.version} ({own.dimensions})" for own in tenant.models)
        return Failed(ModelMismatch(f"vector of {model.name} {model.version} ({model.dimensions}), tenant has {known}"))
    if len(event.vectors) != event.dimensions:
        return Failed(ModelMismatch(f"vector of {len(event.vectors)} values, {event.dimensions} announced"))
    return None


def _once(work: Work, outcomes: Sequence[Outcome], tenant: Tenant) -> list[Outcome]:
    """One completion per image of a batch: that of the searched model's event where both are there."""
    own = {event.image_id for event, _ in work if model_of(event, tenant) == tenant.model}
    return [
        Done()
        if isinstance(outcome, Done) and event.image_id in own and model_of(event, tenant) != tenant.model
        else outcome
        for (event, _), outcome in zip(work, outcomes, strict=True)
    ]
