"""deeplens.processing.completed → status and timings → deeplens.tenant.usage"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from deeplens.common.event import Event
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Outcome, followed_by, merge
from deeplens.events.images import ProcessingCompleted
from deeplens.events.maintenance import ImageMaintenance
from deeplens.events.notifications import TenantNotification
from deeplens.images.current import split_current
from deeplens.images.model import ImageRecord, StageResult, Step
from deeplens.images.notifications import image_completed
from deeplens.images.ports import ImageRepository
from deeplens.images.requests import AdmitImages
from deeplens.maintenance.model import MaintenanceRuns
from deeplens.maintenance.slices import LOST_AFTER, REST, slice_of
from deeplens.stores.model import ScanWindow
from deeplens.tenants.batch import by_tenant
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory
from deeplens.usage.model import upload_event, usage_event, usage_id
from deeplens.videos.ended import events_of_ended_videos
from deeplens.videos.model import VideoRepository


@dataclass(frozen=True)
class Complete:
    """Mark images completed, meter them, and release the tenant's next waiting ones.

    Consumes ``ProcessingCompleted``, emits ``TenantUsage``, a ``TenantNotification`` if a webhook subscribes to it, and
    the released ``ImageUploaded``; slices of scans that waited for room; what follows from a video's last frame.
    """

    name: ClassVar = "complete"
    consumes: ClassVar = ProcessingCompleted

    tenants: TenantDirectory
    images: ImageRepository
    admit_images: AdmitImages
    videos: VideoRepository
    maintenance_runs: MaintenanceRuns
    scan_window: ScanWindow
    clock: Clock

    def __call__(self, batch: Sequence[ProcessingCompleted]) -> list[Outcome]:
        outcomes = by_tenant(batch, self.tenants, self._complete_tenant)
        ended = [
            event
            for event, outcome in zip(batch, outcomes, strict=True)
            if isinstance(outcome, Done) and outcome.dropped != "older generation"
        ]
        images = [(event.tenant_id, event.image_id) for event in ended]
        released = self.admit_images.finish(images, [event.effective_generation for event in ended])
        return followed_by(outcomes, [*released, *self._woken_scans({event.tenant_id for event in ended})])

    def _woken_scans(self, tenant_ids: set[str]) -> list[ImageMaintenance]:
        """Slices of store scans that rested while the window was full, and may continue now."""
        if not tenant_ids:
            return []
        now = self.clock.now()
        woken = self.maintenance_runs.wake(tenant_ids, self.scan_window // 2, now + REST, now + LOST_AFTER)
        return [slice_of(run, now) for run in woken]

    def _complete_tenant(self, tenant: Tenant, batch: Sequence[ProcessingCompleted]) -> list[Outcome]:
        # A searchable image has not failed, even if an earlier event said so.
        found = self.images.find(tenant, [event.image_id for event in batch])
        work, ended = split_current(batch, found, reopen_failed=True)
        self.images.advance(tenant, [self._result(event) for event, _ in work])
        done = [Done((*_usage(event, row), *_notifications(tenant, event, row))) for event, row in work]
        video_events = events_of_ended_videos(self.videos, tenant, [row.video_id for _, row in work])
        return followed_by(merge(len(batch), ended, done), video_events)

    def _result(self, event: ProcessingCompleted) -> StageResult:
        return StageResult(
            event.image_id,
            event.effective_generation,
            Step.COMPLETED,
            self.name,
            event.completed_at,
            changes={"completed_at": event.completed_at, "processing_seconds": event.processing_time},
        )


def _notifications(tenant: Tenant, event: ProcessingCompleted, row: ImageRecord) -> tuple[TenantNotification, ...]:
    """The image's notification; none for frames, of which a film has thousands."""
    return () if row.video_id else image_completed(tenant, event)


def _usage(event: ProcessingCompleted, row: ImageRecord) -> tuple[Event, ...]:
    """Meter the upload and its completion once per generation, whichever event comes; a frame is no upload."""
    event_id = usage_id("completed", event.tenant_id, event.image_id, event.effective_generation)
    completed = usage_event(event.tenant_id, {"images.completed": 1}, event.completed_at, event_id, event.image_id)
    if row.video_id:
        return (completed,)
    return completed, upload_event(event.tenant_id, row)
