"""deeplens.processing.failed → status and reason → deeplens.processing.deadletter"""

from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar
from uuid import NAMESPACE_URL, uuid5

from deeplens.contracts.events import DeadLetter, ProcessingFailed, TenantNotification
from deeplens.domain import ImageRecord, StageResult, Step, Tenant, Tombstone
from deeplens.errors import TenantNotFound
from deeplens.pipeline.batch import followed_by
from deeplens.pipeline.notifications import image_failed
from deeplens.pipeline.outcome import Done, Outcome
from deeplens.ports import Clock, ImageRepository, PendingImages, TenantDirectory, VectorStates
from deeplens.rollouts import VectorState, VectorStep


class Fail:
    """Record why an image failed and keep its event as a dead letter.

    Consumes ``ProcessingFailed``, emits ``DeadLetter``, a ``TenantNotification`` where a webhook wants it, and the
    tenant's next waiting ``ImageUploaded``. A failure with the model that is rolled out fails only that model's vector.
    """

    name: ClassVar = "fail"
    consumes: ClassVar = ProcessingFailed

    def __init__(
        self,
        tenants: TenantDirectory,
        images: ImageRepository,
        vector_states: VectorStates,
        pending: PendingImages,
        pending_due: timedelta,
        clock: Clock,
    ) -> None:
        self._tenants, self._images, self._states, self._pending = tenants, images, vector_states, pending
        self._pending_due, self._clock = pending_due, clock

    def __call__(self, batch: Sequence[ProcessingFailed]) -> list[Outcome]:
        by_owner: dict[str, list[ProcessingFailed]] = {}
        for event in batch:
            if event.tenant_id and event.image_id and event.subject in (None, "image"):
                by_owner.setdefault(event.tenant_id, []).append(event)
        own = [pair for owner, events in by_owner.items() for pair in self._mark_failed(owner, events)]
        ended = [(event.tenant_id or "", event.image_id or "") for event, _ in own]
        released = self._pending.finish(ended, self._clock.now() + self._pending_due)
        # Each beside its own record, whatever batch that is in: its event id has to be the same when it comes again.
        told = {id(event): notification for event, notification in own}
        return followed_by([_dead_letter(event, told.get(id(event), ())) for event in batch], released)

    def _mark_failed(
        self, tenant_id: str, events: Sequence[ProcessingFailed]
    ) -> list[tuple[ProcessingFailed, tuple[TenantNotification, ...]]]:
        """Mark rows, or one model's vectors; returns the failures that end their image, and what is told of them.

        A failure of an unknown or deleted tenant has no row to mark; its dead letter remains.
        """
        try:
            tenant = self._tenants.get(tenant_id)
        except TenantNotFound:
            return [(event, ()) for event in events]
        self._states.record(
            tenant,
            [
                VectorState(
                    event.image_id or "", tenant.target, event.generation or 1, VectorStep.FAILED, event.error.code
                )
                for event in events
                if tenant.target and _of_target(event, tenant)
            ],
        )
        own = [event for event in events if not _of_target(event, tenant)]
        found = self._images.find(tenant, [event.image_id or "" for event in own])
        self._images.advance(tenant, [self._result(event) for event in own if _may_fail(event, found)])
        return [(event, _told(tenant, event, found)) for event in own]

    def _result(self, event: ProcessingFailed) -> StageResult:
        return StageResult(
            event.image_id or "",
            event.generation or 1,
            Step.FAILED,
            event.stage or self.name,
            event.failed_at,
            error_code=event.error.code,
            error_message=event.error.message,
            error_retryable=event.error.retryable,
            attempt=event.attempt_number,
        )


def _of_target(event: ProcessingFailed, tenant: Tenant) -> bool:
    """Whether it is about the model that the tenant's searches do not use."""
    target = tenant.target
    return target is not None and (event.model, event.model_version) == (target.name, target.version)


def _may_fail(event: ProcessingFailed, found: dict[str, ImageRecord | Tombstone]) -> bool:
    row = found.get(event.image_id or "")
    return isinstance(row, ImageRecord) and row.generation <= (event.generation or 1)


def _told(
    tenant: Tenant, event: ProcessingFailed, found: dict[str, ImageRecord | Tombstone]
) -> tuple[TenantNotification, ...]:
    """Nothing of an image that is searchable all the same, or newer, or gone."""
    row = found.get(event.image_id or "")
    if not isinstance(row, ImageRecord) or (row.generation, row.step) > (event.generation or 1, Step.FAILED):
        return ()
    return image_failed(tenant, row.id, event.error, event.failed_at)


def _dead_letter(event: ProcessingFailed, told: Sequence[TenantNotification]) -> Outcome:
    source = event.source
    identity = f"{source.topic}/{source.partition}/{source.offset}" if source else event.event_id
    letter = DeadLetter(
        dead_letter_id=f"dlq_{uuid5(NAMESPACE_URL, identity).hex}",
        tenant_id=event.tenant_id,
        image_id=event.image_id,
        subject=event.subject or "image",
        stage=event.stage,
        error=event.error,
        attempt_number=event.attempt_number,
        failed_at=event.failed_at,
        source=source,
    )
    return Done((letter, *told))
