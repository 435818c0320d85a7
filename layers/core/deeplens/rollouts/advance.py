"""Maintenance ``rollout``: one slice of a change of model, or of removing the retired model; requested every minute."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import ClassVar

from deeplens.common.event import Event
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Outcome, attempt_each
from deeplens.events.maintenance import ImageMaintenance
from deeplens.images.requests import extraction_request
from deeplens.rollouts.model import BackfillWindow, Rollout, Rollouts, VectorStates
from deeplens.tenants.model import Tenant
from deeplens.vectors.ports import VectorIndex

PLANNED_AT_ONCE = 5000
SLICE_SECONDS = 20.0
REQUEST_TIMEOUT = timedelta(minutes=10)
"""A back-fill's request without a result after this time counts as lost and is sent again."""
TENANT_CACHED_AT_MOST = timedelta(seconds=30)
"""Longer than any process caches a tenant's row: after it, none writes to a model that was removed from the row."""


@dataclass(frozen=True)
class ContinueRollout:
    """Plan the back-fill, request as many images as its window allows, or drop the retired model's collection.

    Any slice may be repeated, lost or run twice: what there is to do is read from the databases each time.
    """

    rollouts: Rollouts
    vector_states: VectorStates
    index: VectorIndex
    backfill_window: BackfillWindow
    clock: Clock

    def __call__(self, tenant: Tenant, batch: Sequence[ImageMaintenance]) -> list[Outcome]:
        return attempt_each(partial(self._slice, tenant), batch)

    def _slice(self, tenant: Tenant, event: ImageMaintenance) -> Outcome:
        rollout = self.rollouts.find(tenant.id, event.job or "")
        if rollout is None:
            return Done(dropped="unknown rollout")
        if rollout.ended_at is not None:
            return self._drop_retired(tenant, rollout)
        if rollout.state == "cut-over":
            return Done(dropped="already cut over")
        more = self._plan(tenant, rollout, event)
        now = self.clock.now()
        released = self.vector_states.release(tenant, rollout.target, self.backfill_window, now - REQUEST_TIMEOUT)
        requests: list[Event] = [
            extraction_request(tenant, id_, generation, rollout.target, now) for id_, generation in released
        ]
        return Done((*requests, *more))

    def _plan(self, tenant: Tenant, rollout: Rollout, event: ImageMaintenance) -> list[Event]:
        """Note what lacks the target, until all is noted or the slice's time is up; returns the next slice."""
        counts = self.vector_states.counts(tenant, rollout.target)
        if counts.missing == counts.waiting + counts.requested + counts.failed:
            return []
        last, deadline = event.cursor or "", time.monotonic() + SLICE_SECONDS
        while (seen := self.vector_states.plan(tenant, rollout.target, last, PLANNED_AT_ONCE)) is not None:
            last = seen
            if time.monotonic() > deadline:
                return [event.model_copy(update={"cursor": last, "requested_at": self.clock.now(), "event_id": ""})]
        return []

    def _drop_retired(self, tenant: Tenant, rollout: Rollout) -> Outcome:
        retired, now = rollout.retired_model, self.clock.now()
        if rollout.dropped_at is not None or retired is None or rollout.ended_at is None:
            return Done(dropped="already removed")
        if now < rollout.ended_at + TENANT_CACHED_AT_MOST:
            return Done(dropped="still cached by running functions")
        if retired not in tenant.models:
            self.index.drop_collection(tenant.using(retired))
            self.vector_states.forget(tenant, retired)
        self.rollouts.dropped(rollout, now)
        return Done()


@dataclass(frozen=True)
class TickRollouts:
    """Continue every rollout: one query over all tenants, one event each."""

    name: ClassVar = "rollouts"
    batch_size: ClassVar = 500

    rollouts: Rollouts
    clock: Clock

    def __call__(self) -> list[ImageMaintenance]:
        now = self.clock.now()
        return [rollout_slice(rollout, now) for rollout in self.rollouts.unfinished(self.batch_size)]


def rollout_slice(rollout: Rollout, now: datetime) -> ImageMaintenance:
    """The event of a rollout's next slice."""
    return ImageMaintenance(
        maintenance_type="rollout", tenant_id=rollout.tenant_id, subject="tenant", job=rollout.id, requested_at=now
    )
