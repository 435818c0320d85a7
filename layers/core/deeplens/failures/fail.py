"""deeplens.processing.failed → another attempt later, or a failed image and its deeplens.processing.deadletter"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import ClassVar
from uuid import NAMESPACE_URL, uuid5

from deeplens.common.backoff import MAX_RETRIED_BYTES, GiveUp, plan_retry
from deeplens.common.event import Event
from deeplens.common.groups import grouped
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Outcome, Waiting, followed_by
from deeplens.errors import DependencyUnavailable, ImageNotFound, QueueUnavailable, TenantNotFound
from deeplens.events.failures import DeadLetter, ProcessingFailed, Retry
from deeplens.failures.model import RetryPolicies, RetryQueue
from deeplens.images.model import ImageRecord, StageResult, Step, Tombstone
from deeplens.images.notifications import image_failed
from deeplens.images.ports import ImageRepository
from deeplens.images.requests import AdmitImages
from deeplens.rollouts.model import VectorState, VectorStates, VectorStep
from deeplens.telemetry.instruments import RETRIES
from deeplens.telemetry.metrics import record
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory
from deeplens.usage.model import upload_event
from deeplens.videos.ended import events_of_ended_videos
from deeplens.videos.model import PendingVideos, PendingVideosDue, VideoRepository


@dataclass(slots=True)
class Case:
    """One failure of a batch.

    Attributes
    ----------
    retry : the next attempt of its record; None if it is given up.
    row : its image as it is stored.
    outcome : None while the record is to be retried or given up.
    ends_image : the image fails with it, and frees its place in the tenant's window.
    events : follow from the end of the image.
    """

    event: ProcessingFailed
    retry: Retry | None
    row: ImageRecord | Tombstone | None = None
    outcome: Outcome | None = None
    ends_image: bool = False
    events: tuple[Event, ...] = ()

    @property
    def tenant_id(self) -> str:
        return self.event.tenant_id or ""

    @property
    def image_id(self) -> str:
        return self.event.image_id or ""

    @property
    def generation(self) -> int:
        return self.event.generation or 1

    @property
    def about_image(self) -> bool:
        """Failures of videos, messages, tenants and unreadable records have no row among the images."""
        event = self.event
        return bool(event.tenant_id and event.image_id and event.subject in (None, "image"))

    @property
    def superseded(self) -> bool:
        """Whether the image is deleted or has a newer generation, or the upload has its row by now."""
        if not isinstance(self.row, ImageRecord):
            return self.row is not None
        return self.row.generation > self.generation or self.event.error.code == ImageNotFound.code

    def concerns_target(self, tenant: Tenant) -> bool:
        """Whether the failure is one of the model that is rolled out, which searches do not use yet."""
        target = tenant.target
        return target is not None and (self.event.model, self.event.model_version) == (target.name, target.version)

    def vector_state(self, tenant: Tenant) -> VectorState | None:
        """The failure as the end of the rolled-out model's vector."""
        if not tenant.target or self.retry or not self.concerns_target(tenant):
            return None
        return VectorState(self.image_id, tenant.target, self.generation, VectorStep.FAILED, self.event.error.code)

    def stage_result(self, tenant: Tenant) -> StageResult | None:
        """The failure as the image's end, or as a line of its timeline while its record waits."""
        row, event, waits = self.row, self.event, self.retry is not None
        if not isinstance(row, ImageRecord) or row.generation > self.generation or self.concerns_target(tenant):
            return None
        reached = row.step if row.generation == self.generation else Step.ACCEPTED
        if reached >= (Step.FAILED if waits else Step.COMPLETED):
            return None
        return StageResult(
            row.id,
            self.generation,
            reached if waits else Step.FAILED,
            event.stage or Fail.name,
            event.failed_at,
            error_code=event.error.code,
            error_message=event.error.message,
            error_retryable=event.error.retryable,
            attempt=event.attempt_number,
        )

    def events_of_end(self, tenant: Tenant) -> tuple[Event, ...]:
        """Usage and notifications; none for frames, nor for an image that is searchable, newer or deleted."""
        row, event = self.row, self.event
        if not isinstance(row, ImageRecord) or row.video_id:
            return ()
        if (row.generation, row.step) > (self.generation, Step.FAILED):
            return ()
        return (
            upload_event(tenant.id, row),
            *image_failed(tenant, row.id, self.generation, event.error, event.failed_at),
        )


@dataclass(frozen=True)
class Fail:
    """Queue a failed record for its next attempt, or give it up.

    Consumes ``ProcessingFailed``. An image whose record waits stays in progress and pending; the attempt is noted in
    its timeline. One that is given up fails, with the last error: its record becomes a ``DeadLetter``, webhooks that
    subscribe get a ``TenantNotification``, its upload is metered, and the tenant's next waiting ``ImageUploaded`` is
    released. A failure with the model that is rolled out fails only that model's vector; a superseded failure changes
    nothing. One failed segment ends its video; frames that were found before stay. A repeat may queue a record twice,
    which is harmless: every stage may run twice.
    """

    name: ClassVar = "fail"
    consumes: ClassVar = ProcessingFailed

    tenants: TenantDirectory
    images: ImageRepository
    vector_states: VectorStates
    admit_images: AdmitImages
    retries: RetryQueue
    retry_policies: RetryPolicies
    rng: Random
    videos: VideoRepository
    pending_videos: PendingVideos
    pending_videos_due: PendingVideosDue
    clock: Clock

    def __call__(self, batch: Sequence[ProcessingFailed]) -> list[Outcome]:
        cases = [Case(event, self._retry(event)) for event in batch]
        about_images = [case for case in cases if case.about_image]
        for tenant_id, group in grouped(about_images, lambda case: case.tenant_id).items():
            self._note_images(tenant_id, group)
        ends = [event for case in cases for event in self._note_video(case)]
        self._queue([case for case in cases if case.outcome is None])
        outcomes = [case.outcome or Done((dead_letter(case.event), *case.events)) for case in cases]
        ended = [case for case in cases if case.ends_image]
        images = [(case.tenant_id, case.image_id) for case in ended]
        released = self.admit_images.finish(images, [case.generation for case in ended])
        return followed_by(outcomes, [*released, *ends])

    def _retry(self, event: ProcessingFailed) -> Retry | None:
        """The next attempt of the record; None if it is given up."""
        source = event.source
        if source is None or source.value is None or len(source.value) > MAX_RETRIED_BYTES:
            return None
        policy = self.retry_policies.get(source.topic)
        plan = plan_retry(event.error.retryable, event.attempt_number, policy, self.rng)
        if isinstance(plan, GiveUp):
            return None
        try:
            return Retry(
                record=source,
                attempt_number=event.attempt_number + 1,
                due=self.clock.now() + timedelta(seconds=plan.seconds),
                tenant_id=event.tenant_id,
                image_id=event.image_id,
                stage=event.stage,
            )
        except ValueError:
            # Anyone may write to a topic: a failure may name a record that cannot be sent again.
            return None

    def _queue(self, cases: Sequence[Case]) -> None:
        """Queue records to be retried. The schedule sends their images again only if the queue loses them."""
        waiting = [(case, case.retry) for case in cases if case.retry]
        # Before the queue: a crash between them repeats this record, and nothing is sent twice meanwhile.
        self.admit_images.postpone(
            [(case.tenant_id, case.image_id, retry.due) for case, retry in waiting if case.about_image]
        )
        refused = Waiting(QueueUnavailable("a retry was not queued"))
        try:
            queued = self.retries.send([retry for _, retry in waiting], self.clock.now()) if waiting else []
        except QueueUnavailable as error:
            refused, queued = Waiting(error), [False] * len(waiting)
        for (case, _), sent in zip(waiting, queued, strict=True):
            case.outcome = Done() if sent else refused
            if sent:
                record(RETRIES, stage=case.event.stage or "", error=case.event.error.code)

    def _note_images(self, tenant_id: str, cases: Sequence[Case]) -> None:
        """Note a tenant's failures with their images.

        A failure of an unknown or deleted tenant has no row to mark; its dead letter remains.
        """
        try:
            tenant = self.tenants.get(tenant_id)
            rows = self.images.find(tenant, [case.image_id for case in cases])
            for case in cases:
                case.row = rows.get(case.image_id)
            current = [case for case in cases if not case.superseded]
            given_up = [case for case in current if case.retry is None and not case.concerns_target(tenant)]
            self.vector_states.record(tenant, [state for case in current if (state := case.vector_state(tenant))])
            self.images.advance(tenant, [result for case in current if (result := case.stage_result(tenant))])
            video_ids = [case.row.video_id for case in given_up if isinstance(case.row, ImageRecord)]
            ends = events_of_ended_videos(self.videos, tenant, video_ids)
        except TenantNotFound:
            for case in cases:
                case.ends_image = case.retry is None
            return
        except DependencyUnavailable as error:
            for case in cases:
                case.outcome = Waiting(error)
            return
        for case in cases:
            if case.superseded:
                case.outcome = Done(dropped="superseded")
        for case in given_up:
            case.ends_image, case.events = True, case.events_of_end(tenant)
        for case in given_up[:1]:
            case.events += ends

    def _note_video(self, case: Case) -> tuple[Event, ...]:
        """Note a failure with its video: it ends, or goes on after a wait. Returns what follows from its end."""
        event = case.event
        if event.subject != "video" or not event.tenant_id or not event.video_id:
            return ()
        try:
            if case.retry:
                due = case.retry.due + self.pending_videos_due
                self.pending_videos.postpone(event.tenant_id, event.video_id, due)
                return ()
            error, tenant = event.error, self.tenants.get(event.tenant_id)
            self.videos.fail(tenant, event.video_id, error.code, error.message, error.retryable)
            self.pending_videos.finish(event.tenant_id, event.video_id)
            return events_of_ended_videos(self.videos, tenant, [event.video_id])
        except TenantNotFound:
            return ()
        except DependencyUnavailable as unavailable:
            case.outcome = Waiting(unavailable)
            return ()


def dead_letter(event: ProcessingFailed) -> DeadLetter:
    """The dead letter of a failure. Its id is derived from the event that failed: a repeat gives the same one."""
    cause, source = event.event_id, event.source
    if source is not None:
        # An event may fail in several stages, and once more after each replay.
        failed = source.event_id or f"{source.topic}/{source.partition}/{source.offset}"
        cause = f"{event.stage}/{failed}/{source.replays or 0}"
    same = ("tenant_id", "image_id", "video_id", "stage", "error", "attempt_number", "failed_at", "source")
    return DeadLetter(
        dead_letter_id=f"dlq_{uuid5(NAMESPACE_URL, cause).hex}",
        subject=event.subject or "image",
        **{name: getattr(event, name) for name in same},
    )
