"""Maintenance ``rollout``: one slice of a change of model, and of removing the model that lost."""

import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from deeplens.common.event import Event
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Outcome, attempt
from deeplens.events.maintenance import ImageMaintenance
from deeplens.images.requests import extraction_request
from deeplens.rollouts.model import BackfillWindow, Rollout, Rollouts, VectorStates
from deeplens.tenants.model import Tenant
from deeplens.vectors.ports import VectorIndex

PLANNED_AT_ONCE = 5000
SLICE_SECONDS = 20.0
REQUESTED_AGAIN = timedelta(minutes=10)
"""A back-fill's request unanswered for so long was lost, with the process that should have sent it, say."""
REMEMBERED = timedelta(seconds=30)
"""Longer than any process remembers a tenant's row: from then on none writes to a model that was dropped from it."""


class ContinueRollout:
    """Plan the back-fill, ask for as many images as its window allows, or drop the loser's collection.

    Any slice may be repeated, lost or run twice: what there is to do is read from the databases each time.
    """

    def __init__(
        self,
        rollouts: Rollouts,
        vector_states: VectorStates,
        index: VectorIndex,
        backfill_window: BackfillWindow,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rollouts, self._states, self._index = rollouts, vector_states, index
        self._window, self._clock, self._monotonic = backfill_window, clock, monotonic

    def __call__(self, tenant: Tenant, batch: Sequence[ImageMaintenance]) -> list[Outcome]:
        return [attempt(lambda event=event: self._slice(tenant, event)) for event in batch]  # type: ignore[misc]

    def _slice(self, tenant: Tenant, event: ImageMaintenance) -> Outcome:
        rollout = self._rollouts.find(tenant.id, event.job or "")
        if rollout is None:
            return Done(dropped="unknown rollout")
        if rollout.ended_at is not None:
            return self._drop_loser(tenant, rollout)
        if rollout.state == "cut-over":
            return Done(dropped="already cut over")
        more = self._plan(tenant, rollout, event)
        now = self._clock.now()
        released = self._states.release(tenant, rollout.target, self._window, now - REQUESTED_AGAIN)
        asked: list[Event] = [
            extraction_request(tenant, id_, generation, rollout.target, now) for id_, generation in released
        ]
        return Done((*asked, *more))

    def _plan(self, tenant: Tenant, rollout: Rollout, event: ImageMaintenance) -> list[Event]:
        """Note what lacks the target, until all is noted or the slice's time is up; returns the next slice."""
        counts = self._states.counts(tenant, rollout.target)
        if counts.missing == counts.waiting + counts.requested + counts.failed:
            return []
        last, deadline = event.cursor or "", self._monotonic() + SLICE_SECONDS
        while (seen := self._states.plan(tenant, rollout.target, last, PLANNED_AT_ONCE)) is not None:
            last = seen
            if self._monotonic() > deadline:
                return [event.model_copy(update={"cursor": last, "requested_at": self._clock.now(), "event_id": ""})]
        return []

    def _drop_loser(self, tenant: Tenant, rollout: Rollout) -> Outcome:
        loser, now = rollout.loser, self._clock.now()
        if rollout.dropped_at is not None or loser is None or rollout.ended_at is None:
            return Done(dropped="already removed")
        if now < rollout.ended_at + REMEMBERED:
            return Done(dropped="still remembered by running functions")
        if loser not in tenant.models:
            self._index.drop_collection(tenant.using(loser))
            self._states.forget(tenant, loser)
        self._rollouts.dropped(rollout, now)
        return Done()
