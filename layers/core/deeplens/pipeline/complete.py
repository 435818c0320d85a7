"""deeplens.processing.completed → status and timings → deeplens.tenant.usage"""

from collections.abc import Sequence
from typing import ClassVar

from deeplens.common.batch import followed_by, merge
from deeplens.common.event import Event
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Outcome
from deeplens.events.images import ProcessingCompleted
from deeplens.events.maintenance import ImageMaintenance
from deeplens.events.notifications import TenantNotification
from deeplens.images.current import split_current
from deeplens.images.model import ImageRecord, StageResult, Step
from deeplens.images.notifications import image_completed
from deeplens.images.ports import ImageRepository, PendingDue, PendingImages
from deeplens.maintenance.model import MaintenanceRuns
from deeplens.maintenance.slices import LOST_AFTER, REST, slice_of
from deeplens.stores.model import ScanWindow
from deeplens.tenants.batch import by_tenant
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory
from deeplens.usage.model import upload_event, usage_event, usage_id
from deeplens.videos.ended import ends_of
from deeplens.videos.model import VideoRepository


class Complete:
    """Mark images completed, meter them, and release the tenant's next waiting ones.

    Consumes ``ProcessingCompleted``, emits ``TenantUsage``, a ``TenantNotification`` where a webhook wants it, and the
    released ``ImageUploaded``; a slice of a scan that waited for room; what follows from the last frame of a video.
    """

    name: ClassVar = "complete"
    consumes: ClassVar = ProcessingCompleted

    def __init__(
        self,
        tenants: TenantDirectory,
        images: ImageRepository,
        pending: PendingImages,
        pending_due: PendingDue,
        videos: VideoRepository,
        maintenance_runs: MaintenanceRuns,
        scan_window: ScanWindow,
        clock: Clock,
    ) -> None:
        self._tenants, self._images, self._pending, self._videos = tenants, images, pending, videos
        self._pending_due, self._clock = pending_due, clock
        self._runs, self._scan_window = maintenance_runs, scan_window

    def __call__(self, batch: Sequence[ProcessingCompleted]) -> list[Outcome]:
        outcomes = by_tenant(batch, self._tenants, self._complete_tenant)
        ended = [
            event
            for event, outcome in zip(batch, outcomes, strict=True)
            if isinstance(outcome, Done) and outcome.dropped != "older generation"
        ]
        released = self._pending.finish(
            [(event.tenant_id, event.image_id) for event in ended],
            self._clock.now() + self._pending_due,
            [event.effective_generation for event in ended],
        )
        return followed_by(outcomes, [*released, *self._scans({event.tenant_id for event in ended})])

    def _scans(self, tenant_ids: set[str]) -> list[ImageMaintenance]:
        """Scans of tenants' own stores that have rested for want of room, and have it now."""
        now = self._clock.now()
        woken = self._runs.wake(tenant_ids, self._scan_window // 2, now + REST, now + LOST_AFTER) if tenant_ids else []
        return [slice_of(run, now) for run in woken]

    def _complete_tenant(self, tenant: Tenant, batch: Sequence[ProcessingCompleted]) -> list[Outcome]:
        # What is searchable did not fail.
        found = self._images.find(tenant, [event.image_id for event in batch])
        work, ended = split_current(batch, found, revives=True)
        self._images.advance(tenant, [self._result(event) for event, _ in work])
        done = [Done((*_usage(event, row), *_told(tenant, event, row))) for event, row in work]
        ends = ends_of(self._videos, tenant, [row.video_id for _, row in work])
        return followed_by(merge(len(batch), ended, done), ends)

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


def _usage(event: ProcessingCompleted, row: ImageRecord) -> tuple[Event, ...]:
    """The upload, and that it is searchable: once per generation, from whichever of its events that came.

    A frame was not uploaded: its video was.
    """
    event_id = usage_id("completed", event.tenant_id, event.image_id, event.effective_generation)
    completed = usage_event(event.tenant_id, {"images.completed": 1}, event.completed_at, event_id, event.image_id)
    if row.video_id:
        return (completed,)
    return completed, upload_event(event.tenant_id, row.id, row.size_bytes, row.uploaded_at)
