"""What a failure means for a video: it ends, or goes on after a wait."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from deeplens.common.backoff import RetryAfter, RetryPlan
from deeplens.common.event import Event
from deeplens.common.ports import Clock
from deeplens.common.stage import Outcome, Waiting
from deeplens.errors import DependencyUnavailable, TenantNotFound
from deeplens.events.failures import ProcessingFailed
from deeplens.tenants.ports import TenantDirectory
from deeplens.videos.ended import ends_of
from deeplens.videos.model import PendingVideos, PendingVideosDue, VideoRepository


class FailVideos:
    """Note failures of videos with them. One failed segment ends its video; frames that were found before stay."""

    def __init__(
        self,
        tenants: TenantDirectory,
        videos: VideoRepository,
        pending_videos: PendingVideos,
        pending_videos_due: PendingVideosDue,
        clock: Clock,
    ) -> None:
        self._tenants, self._videos, self._pending = tenants, videos, pending_videos
        self._due, self._clock = pending_videos_due, clock

    def __call__(
        self, batch: Sequence[ProcessingFailed], plans: Mapping[int, RetryPlan]
    ) -> tuple[dict[int, Outcome], list[Event]]:
        """Returns the outcomes of those that have to wait, and what follows from the ends of the others."""
        waiting, ends = dict[int, Outcome](), list[Event]()
        for event in batch:
            if event.subject == "video" and event.tenant_id and event.video_id:
                try:
                    ends += self._note(event, event.tenant_id, event.video_id, plans[id(event)])
                except TenantNotFound:
                    continue
                except DependencyUnavailable as error:
                    waiting[id(event)] = Waiting(error)
        return waiting, ends

    def _note(self, event: ProcessingFailed, tenant_id: str, video_id: str, plan: RetryPlan) -> tuple[Event, ...]:
        if isinstance(plan, RetryAfter):
            due = self._clock.now() + timedelta(seconds=plan.seconds) + self._due
            self._pending.postpone(tenant_id, video_id, due)
            return ()
        error, tenant = event.error, self._tenants.get(tenant_id)
        self._videos.fail(tenant, video_id, error.code, error.message, error.retryable)
        self._pending.finish(tenant_id, video_id)
        return ends_of(self._videos, tenant, [video_id])
