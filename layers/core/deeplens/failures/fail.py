"""deeplens.processing.failed → tried again later, or status and reason → deeplens.processing.deadletter"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import ClassVar
from uuid import NAMESPACE_URL, uuid5

from deeplens.common.backoff import MAX_RETRIED_BYTES, GiveUp, RetryAfter, RetryPlan, plan_retry
from deeplens.common.batch import followed_by
from deeplens.common.event import Event
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Outcome, Waiting
from deeplens.errors import DependencyUnavailable, ImageNotFound, QueueUnavailable, TenantNotFound
from deeplens.events.failures import DeadLetter, ProcessingFailed, SourceRecord
from deeplens.events.retry import Retry
from deeplens.failures.fail_videos import FailVideos
from deeplens.failures.model import RetryPolicies, RetryQueue
from deeplens.images.model import ImageRecord, StageResult, Step, Tombstone
from deeplens.images.notifications import image_failed
from deeplens.images.ports import ImageRepository, PendingDue, PendingImages
from deeplens.rollouts.model import VectorState, VectorStates, VectorStep
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory
from deeplens.usage.model import upload_event
from deeplens.videos.ended import ends_of
from deeplens.videos.model import PendingVideos, PendingVideosDue, VideoRepository

type Plans = Mapping[int, RetryPlan]
"""By the failure's ``id()``."""


@dataclass(frozen=True, slots=True)
class Failed:
    """An image that ends, as tenant and image, with its generation, and what is told and metered of it."""

    image: tuple[str, str]
    generation: int
    told: tuple[Event, ...]


class Fail:
    """Plan what becomes of a failed record: it waits for its next attempt, or it is given up.

    Consumes ``ProcessingFailed``. An image whose record waits stays in work and pending; the attempt is noted in its
    timeline. One that is given up fails, with the last error: its record becomes a ``DeadLetter``, webhooks that want
    it a ``TenantNotification``, its upload is metered, and the tenant's next waiting ``ImageUploaded`` is released. A
    failure with the model that is rolled out fails only that model's vector; one that holds no more changes nothing. A
    repeat may queue a record twice, which is harmless: every stage may run twice.
    """

    name: ClassVar = "fail"
    consumes: ClassVar = ProcessingFailed

    def __init__(
        self,
        tenants: TenantDirectory,
        images: ImageRepository,
        vector_states: VectorStates,
        pending: PendingImages,
        pending_due: PendingDue,
        retries: RetryQueue,
        retry_policies: RetryPolicies,
        rng: Random,
        videos: VideoRepository,
        pending_videos: PendingVideos,
        pending_videos_due: PendingVideosDue,
        clock: Clock,
    ) -> None:
        self._fail_videos = FailVideos(tenants, videos, pending_videos, pending_videos_due, clock)
        self._tenants, self._images, self._states, self._pending = tenants, images, vector_states, pending
        self._videos = videos
        self._retries, self._policies, self._rng = retries, retry_policies, rng
        self._pending_due, self._clock = pending_due, clock

    def __call__(self, batch: Sequence[ProcessingFailed]) -> list[Outcome]:
        plans = {id(event): self._plan(event) for event in batch}
        ended: dict[int, Outcome] = {}
        failed: dict[int, Failed] = {}
        for tenant_id, events in _images_by_tenant(batch).items():
            ended |= self._note(tenant_id, events, plans, failed)
        waiting, ends = self._fail_videos(batch, plans)
        ended |= waiting
        ended |= self._queue([event for event in batch if id(event) not in ended], plans)
        outcomes = [ended.get(id(event)) or _given_up(event, failed.get(id(event))) for event in batch]
        images, generations = [one.image for one in failed.values()], [one.generation for one in failed.values()]
        due = self._clock.now() + self._pending_due
        return followed_by(outcomes, [*self._pending.finish(images, due, generations), *ends])

    def _plan(self, event: ProcessingFailed) -> RetryPlan:
        source = event.source
        if source is None or source.value is None or len(source.value) > MAX_RETRIED_BYTES:
            return GiveUp("its record was not kept, or is too large to wait")
        if not _sendable(event, source):
            return GiveUp("its record is not readable")
        policy = self._policies.get(source.topic)
        return plan_retry(event.error.retryable, event.attempt_number, policy, self._rng)

    def _queue(self, events: Sequence[ProcessingFailed], plans: Plans) -> dict[int, Outcome]:
        """Have records wait. Their images are sent again by the schedule only if the queue should lose them."""
        now = self._clock.now()
        waiting: list[tuple[ProcessingFailed, Retry]] = []
        for event in events:
            plan = plans[id(event)]
            if isinstance(plan, RetryAfter) and event.source:
                due = now + timedelta(seconds=plan.seconds)
                waiting.append((event, _retry(event, event.source, due)))
        # Before the queue knows: a crash between them repeats this record, and nothing is sent twice meanwhile.
        self._pending.postpone(
            [
                (event.tenant_id, event.image_id, retry.due + self._pending_due)
                for event, retry in waiting
                if event.tenant_id and event.image_id and event.subject in (None, "image")
            ]
        )
        try:
            kept = self._retries.send([retry for _, retry in waiting], now) if waiting else []
        except QueueUnavailable as error:
            return {id(event): Waiting(error) for event, _ in waiting}
        refused = Waiting(QueueUnavailable("a retry was not queued"))
        return {id(event): Done() if sent else refused for (event, _), sent in zip(waiting, kept, strict=True)}

    def _note(
        self, tenant_id: str, events: Sequence[ProcessingFailed], plans: Plans, failed: dict[int, Failed]
    ) -> dict[int, Outcome]:
        """Note failures with their images and add those that fail; returns the outcomes of what goes no further.

        A failure of an unknown or deleted tenant has no row to mark; its dead letter remains.
        """
        given_up = [event for event in events if isinstance(plans[id(event)], GiveUp)]
        try:
            tenant = self._tenants.get(tenant_id)
            found = self._images.find(tenant, [event.image_id or "" for event in events])
            old = {id(event) for event in events if _superseded(event, found)}
            holding, given_up = ([e for e in some if id(e) not in old] for some in (events, given_up))
            self._states.record(tenant, _vectors_failed(given_up, tenant))
            self._images.advance(tenant, [r for e in holding if (r := self._result(e, tenant, found, plans))])
            given_up = [event for event in given_up if not _of_target(event, tenant)]
            told = {id(event): _told(tenant, event, found) for event in given_up}
            for event in given_up[:1]:
                told[id(event)] += ends_of(self._videos, tenant, _videos_of(given_up, found))
        except TenantNotFound:
            old, told = set(), {}
        except DependencyUnavailable as error:
            return {id(event): Waiting(error) for event in events}
        failed |= {
            id(e): Failed((tenant_id, e.image_id or ""), e.generation or 1, told.get(id(e), ())) for e in given_up
        }
        return {event: Done(dropped="superseded") for event in old}

    def _result(
        self, event: ProcessingFailed, tenant: Tenant, found: dict[str, ImageRecord | Tombstone], plans: Plans
    ) -> StageResult | None:
        """The failure as the image's end, or as a line of its timeline while it goes on."""
        row, generation = found.get(event.image_id or ""), event.generation or 1
        if not isinstance(row, ImageRecord) or row.generation > generation or _of_target(event, tenant):
            return None
        reached = row.step if row.generation == generation else Step.ACCEPTED
        waits = isinstance(plans[id(event)], RetryAfter)
        if reached >= (Step.FAILED if waits else Step.COMPLETED):
            return None
        return StageResult(
            row.id,
            generation,
            reached if waits else Step.FAILED,
            event.stage or self.name,
            event.failed_at,
            error_code=event.error.code,
            error_message=event.error.message,
            error_retryable=event.error.retryable,
            attempt=event.attempt_number,
        )


def _retry(event: ProcessingFailed, source: SourceRecord, due: datetime) -> Retry:
    return Retry(
        record=source,
        attempt_number=event.attempt_number + 1,
        due=due,
        tenant_id=event.tenant_id,
        image_id=event.image_id,
        stage=event.stage,
    )


def _sendable(event: ProcessingFailed, source: SourceRecord) -> bool:
    """Anyone may write to a topic: what claims to be a record need not be one."""
    try:
        return bool(_retry(event, source, event.failed_at))
    except ValueError:
        return False


def _images_by_tenant(batch: Sequence[ProcessingFailed]) -> dict[str, list[ProcessingFailed]]:
    """Failures of images; those of videos, messages, tenants and unreadable records have no row."""
    found: dict[str, list[ProcessingFailed]] = {}
    for event in batch:
        if event.tenant_id and event.image_id and event.subject in (None, "image"):
            found.setdefault(event.tenant_id, []).append(event)
    return found


def _of_target(event: ProcessingFailed, tenant: Tenant) -> bool:
    """Whether it is about the model that the tenant's searches do not use."""
    target = tenant.target
    return target is not None and (event.model, event.model_version) == (target.name, target.version)


def _vectors_failed(events: Sequence[ProcessingFailed], tenant: Tenant) -> list[VectorState]:
    return [
        VectorState(event.image_id or "", tenant.target, event.generation or 1, VectorStep.FAILED, event.error.code)
        for event in events
        if tenant.target and _of_target(event, tenant)
    ]


def _superseded(event: ProcessingFailed, found: dict[str, ImageRecord | Tombstone]) -> bool:
    """Whether it holds no more: of a deleted image, of an older generation, or of an upload that has its row by now."""
    row = found.get(event.image_id or "")
    if not isinstance(row, ImageRecord):
        return row is not None
    return row.generation > (event.generation or 1) or event.error.code == ImageNotFound.code


def _told(tenant: Tenant, event: ProcessingFailed, found: dict[str, ImageRecord | Tombstone]) -> tuple[Event, ...]:
    """Nothing of an image that is searchable all the same, or newer, or gone, nor of a frame."""
    row = found.get(event.image_id or "")
    if (
        not isinstance(row, ImageRecord)
        or row.video_id
        or (row.generation, row.step) > (event.generation or 1, Step.FAILED)
    ):
        return ()
    upload = upload_event(tenant.id, row.id, row.size_bytes, row.uploaded_at)
    return (upload, *image_failed(tenant, row.id, event.generation or 1, event.error, event.failed_at))


def _videos_of(events: Sequence[ProcessingFailed], found: dict[str, ImageRecord | Tombstone]) -> list[str | None]:
    """Videos whose frames they are about."""
    rows = [found.get(event.image_id or "") for event in events]
    return [row.video_id for row in rows if isinstance(row, ImageRecord)]


def _given_up(event: ProcessingFailed, failed: Failed | None) -> Done:
    return Done((dead_letter(event), *(failed.told if failed else ())))


def dead_letter(event: ProcessingFailed) -> DeadLetter:
    """What is kept of it. Its id is that of the event that failed: the same failure twice is one letter."""
    return DeadLetter(
        dead_letter_id=f"dlq_{uuid5(NAMESPACE_URL, _identity(event, event.source)).hex}",
        tenant_id=event.tenant_id,
        image_id=event.image_id,
        video_id=event.video_id,
        subject=event.subject or "image",
        stage=event.stage,
        error=event.error,
        attempt_number=event.attempt_number,
        failed_at=event.failed_at,
        source=event.source,
    )


def _identity(event: ProcessingFailed, source: SourceRecord | None) -> str:
    if source is None:
        return event.event_id
    # An event may fail in several stages, and once more after each replay.
    failed = source.event_id or f"{source.topic}/{source.partition}/{source.offset}"
    return f"{event.stage}/{failed}/{source.replays or 0}"
