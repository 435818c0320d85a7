"""deeplens.processing.completed → status and timings → deeplens.tenant.usage"""

from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar

from deeplens.contracts.events import ImageMaintenance, ProcessingCompleted, TenantUsage
from deeplens.domain import StageResult, Step, Tenant
from deeplens.pipeline.batch import by_tenant, followed_by, merge, split_current
from deeplens.pipeline.notifications import image_completed
from deeplens.pipeline.outcome import Done, Outcome
from deeplens.pipeline.run_slices import LOST_AFTER, REST, slice_of
from deeplens.ports import Clock, ImageRepository, MaintenanceRuns, PendingImages, TenantDirectory


class Complete:
    """Mark images completed, meter them, and release the tenant's next waiting ones.

    Consumes ``ProcessingCompleted``, emits ``TenantUsage``, a ``TenantNotification`` where a webhook wants it, and the
    released ``ImageUploaded``; a slice of a scan that waited for room.
    """

    name: ClassVar = "complete"
    consumes: ClassVar = ProcessingCompleted

    def __init__(
        self,
        tenants: TenantDirectory,
        images: ImageRepository,
        pending: PendingImages,
        pending_due: timedelta,
        maintenance_runs: MaintenanceRuns,
        scan_window: int,
        clock: Clock,
    ) -> None:
        self._tenants, self._images, self._pending = tenants, images, pending
        self._pending_due, self._clock = pending_due, clock
        self._runs, self._scan_window = maintenance_runs, scan_window

    def __call__(self, batch: Sequence[ProcessingCompleted]) -> list[Outcome]:
        outcomes = by_tenant(batch, self._tenants, self._complete_tenant)
        ended = [
            (event.tenant_id, event.image_id)
            for event, outcome in zip(batch, outcomes, strict=True)
            if isinstance(outcome, Done) and outcome.dropped != "older generation"
        ]
        released = self._pending.finish(ended, self._clock.now() + self._pending_due)
        return followed_by(outcomes, [*released, *self._scans({tenant_id for tenant_id, _ in ended})])

    def _scans(self, tenant_ids: set[str]) -> list[ImageMaintenance]:
        """Scans of tenants' own stores that have rested for want of room, and have it now."""
        now = self._clock.now()
        woken = self._runs.wake(tenant_ids, self._scan_window // 2, now + REST, now + LOST_AFTER) if tenant_ids else []
        return [slice_of(run, now) for run in woken]

    def _complete_tenant(self, tenant: Tenant, batch: Sequence[ProcessingCompleted]) -> list[Outcome]:
        work, ended = split_current(batch, self._images.find(tenant, [event.image_id for event in batch]))
        self._images.advance(tenant, [self._result(event) for event, _ in work])
        return merge(len(batch), ended, [Done((_usage(event), *image_completed(tenant, event))) for event, _ in work])

    def _result(self, event: ProcessingCompleted) -> StageResult:
        return StageResult(
            event.image_id,
            event.effective_generation,
            Step.COMPLETED,
            self.name,
            event.completed_at,
            changes={"completed_at": event.completed_at, "processing_seconds": event.processing_time},
        )


def _usage(event: ProcessingCompleted) -> TenantUsage:
    return TenantUsage(
        tenant_id=event.tenant_id,
        image_id=event.image_id,
        metric="images.completed",
        quantity=1,
        unit="images",
        occurred_at=event.completed_at,
    )
