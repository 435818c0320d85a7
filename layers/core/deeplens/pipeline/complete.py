"""deeplens.processing.completed → status and timings → deeplens.tenant.usage"""

from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar

from deeplens.contracts.events import ProcessingCompleted, TenantNotification, TenantUsage
from deeplens.domain import ImageRecord, StageResult, Step, Tenant
from deeplens.pipeline.batch import by_tenant, followed_by, merge, split_current
from deeplens.pipeline.notifications import image_completed
from deeplens.pipeline.outcome import Done, Outcome
from deeplens.ports import Clock, ImageRepository, PendingImages, TenantDirectory


class Complete:
    """Mark images completed, meter them, and release the tenant's next waiting ones.

    Consumes ``ProcessingCompleted``, emits ``TenantUsage``, a ``TenantNotification`` where a webhook wants it, and the
    released ``ImageUploaded``.
    """

    name: ClassVar = "complete"
    consumes: ClassVar = ProcessingCompleted

    def __init__(
        self,
        tenants: TenantDirectory,
        images: ImageRepository,
        pending: PendingImages,
        pending_due: timedelta,
        clock: Clock,
    ) -> None:
        self._tenants, self._images, self._pending = tenants, images, pending
        self._pending_due, self._clock = pending_due, clock

    def __call__(self, batch: Sequence[ProcessingCompleted]) -> list[Outcome]:
        outcomes = by_tenant(batch, self._tenants, self._complete_tenant)
        ended = [
            (event.tenant_id, event.image_id)
            for event, outcome in zip(batch, outcomes, strict=True)
            if isinstance(outcome, Done) and outcome.dropped != "older generation"
        ]
        return followed_by(outcomes, self._pending.finish(ended, self._clock.now() + self._pending_due))

    def _complete_tenant(self, tenant: Tenant, batch: Sequence[ProcessingCompleted]) -> list[Outcome]:
        work, ended = split_current(batch, self._images.find(tenant, [event.image_id for event in batch]))
        self._images.advance(tenant, [self._result(event) for event, _ in work])
        return merge(len(batch), ended, [Done((_usage(event), *_told(tenant, event, row))) for event, row in work])

    def _result(self, event: ProcessingCompleted) -> StageResult:
        return StageResult(
            event.image_id,
            event.effective_generation,
            Step.COMPLETED,
            self.name,
            event.completed_at,
            changes={"completed_at": event.completed_at, "processing_seconds": event.processing_time},
        )


def _told(tenant: Tenant, event: ProcessingCompleted, row: ImageRecord) -> tuple[TenantNotification, ...]:
    """Nothing of frames: a film would be told of a thousand times."""
    return () if row.video_id else image_completed(tenant, event)


def _usage(event: ProcessingCompleted) -> TenantUsage:
    return TenantUsage(
        tenant_id=event.tenant_id,
        image_id=event.image_id,
        metric="images.completed",
        quantity=1,
        unit="images",
        occurred_at=event.completed_at,
    )
