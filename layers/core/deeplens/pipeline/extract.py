"""deeplens.features.extraction → embeddings of a whole batch → deeplens.vectors.indexing"""

import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from deeplens.common.groups import grouped
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Failed, Outcome, Waiting, attempt, in_parallel, merge
from deeplens.embedding.model import ModelRef
from deeplens.embedding.ports import Embedder
from deeplens.errors import DependencyUnavailable, InvalidImage, PipelineError
from deeplens.events.images import FeatureExtractionRequested, StageTimes, VectorIndexingRequested
from deeplens.events.usage import TenantUsage
from deeplens.images.current import split_current
from deeplens.images.model import ImageRecord, StageResult, Step
from deeplens.images.ports import ImageRepository
from deeplens.storage.ports import StoreResolver
from deeplens.tenants.batch import by_tenant
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory
from deeplens.usage.model import usage_event, usage_id


@dataclass(slots=True)
class _Job:
    """One image in this stage: its JPEG, then its embedding, or how it ended."""

    event: FeatureExtractionRequested
    tenant: Tenant
    row: ImageRecord
    jpeg: bytes = b""
    vector: list[float] | None = None
    inference_ms: float = 0.0
    ended: Outcome | None = None

    @property
    def model(self) -> ModelRef:
        params = self.event.extraction_params
        return ModelRef(params.model, params.model_version or self.tenant.model.version, params.dimensions)


@dataclass(frozen=True)
class Extract:
    """Extract the feature vectors (embeddings) of standard JPEGs, with one inference call per batch and model.

    Consumes ``FeatureExtractionRequested``, emits ``VectorIndexingRequested`` and ``TenantUsage``; writes only the
    image's state.
    """

    name: ClassVar = "extract"
    consumes: ClassVar = FeatureExtractionRequested

    tenants: TenantDirectory
    stores: StoreResolver
    images: ImageRepository
    embedder: Embedder
    workers: Executor
    clock: Clock

    def __call__(self, batch: Sequence[FeatureExtractionRequested]) -> list[Outcome]:
        started = time.perf_counter()
        jobs: dict[int, _Job] = {}
        early = by_tenant(batch, self.tenants, lambda tenant, events: self._open_jobs(tenant, events, jobs))
        opened = list(jobs.values())
        in_parallel(self.workers, self._fetch, opened)
        fetched = [job for job in opened if job.ended is None]
        for model, group in grouped(fetched, lambda job: job.model).items():
            self._embed_group(model, group)
        seconds = round((time.perf_counter() - started) / max(1, len(opened)), 6)
        self._advance(opened, seconds)
        return [
            self._outcome(jobs[id(event)], seconds) if id(event) in jobs else outcome
            for event, outcome in zip(batch, early, strict=True)
        ]

    def _open_jobs(
        self, tenant: Tenant, events: Sequence[FeatureExtractionRequested], jobs: dict[int, _Job]
    ) -> list[Outcome]:
        found = self.images.find(tenant, [event.image_id for event in events])
        work, ended = split_current(events, found)
        jobs.update({id(event): _Job(event, tenant, row) for event, row in work})
        return merge(len(events), ended, [Done()] * len(work))

    def _fetch(self, job: _Job) -> None:
        def read() -> Outcome:
            store = self.stores.for_tenant(job.tenant)
            job.jpeg = store.get(store.key_of(job.event.preprocessed_path))
            return Done()

        outcome = attempt(read)
        job.ended = None if isinstance(outcome, Done) else outcome

    def _embed_group(self, model: ModelRef, group: list[_Job]) -> None:
        """Embed a group; halve a rejected group until the invalid image is alone."""
        started = time.perf_counter()
        try:
            vectors = self.embedder.embed([job.jpeg for job in group], model)
        except InvalidImage as error:
            if len(group) == 1:
                group[0].ended = Failed(error)
                return
            middle = len(group) // 2
            self._embed_group(model, group[:middle])
            self._embed_group(model, group[middle:])
        except DependencyUnavailable as error:
            _end_all(group, Waiting(error))
        except PipelineError as error:
            _end_all(group, Failed(error))
        else:
            share = round((time.perf_counter() - started) * 1000 / len(group), 3)
            for job, vector in zip(group, vectors, strict=True):
                job.inference_ms = share
                job.vector = [float(f"{value:.9g}") for value in vector.tolist()]

    def _advance(self, jobs: Sequence[_Job], seconds: float) -> None:
        """Record the step per tenant; if its database is unavailable, that tenant's images wait."""
        now = self.clock.now()
        for group in grouped(jobs, lambda job: job.tenant.id).values():
            tenant, embedded = group[0].tenant, [job for job in group if job.vector is not None]
            # An image's own progress is that of the model that it is searched with.
            results = [
                StageResult(job.row.id, job.event.effective_generation, Step.EXTRACTED, self.name, now, seconds)
                for job in embedded
                if job.model == tenant.model
            ]
            try:
                self.images.advance(tenant, results)
            except DependencyUnavailable as error:
                _end_all(embedded, Waiting(error))

    def _outcome(self, job: _Job, seconds: float) -> Outcome:
        if job.ended is not None or job.vector is None:
            return job.ended or Done()
        event = job.event
        request = VectorIndexingRequested(
            image_id=event.image_id,
            tenant_id=event.tenant_id,
            generation=event.generation,
            vectors=job.vector,
            dimensions=len(job.vector),
            metadata={
                "fileName": job.row.file_name,
                "uploadedAt": job.row.uploaded_at.isoformat().replace("+00:00", "Z"),
                "tags": list(job.row.tags),
            },
            extracted_at=self.clock.now(),
            model=job.model.name,
            model_version=job.model.version,
            times=(event.times or StageTimes()).model_copy(update={"extraction_time": seconds}),
        )
        return Done((request, _usage(job, request.extracted_at)))


def _usage(job: _Job, at: datetime) -> TenantUsage:
    """Meter each embedding once, however often its event comes."""
    event, model = job.event, job.model
    image = event.tenant_id, event.image_id, event.effective_generation
    event_id = usage_id("embedding", *image, model.name, model.version)
    quantities = {"embeddings": 1, "inference.ms": job.inference_ms}
    return usage_event(event.tenant_id, quantities, at, event_id, event.image_id)


def _end_all(jobs: Sequence[_Job], outcome: Outcome) -> None:
    for job in jobs:
        job.ended = outcome
