"""Maintenance in slices: pages of work until a slice's time is up, then the next slice."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from deeplens.common.event import Event
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Failed, Outcome, attempt, unforeseen
from deeplens.errors import DependencyUnavailable, PipelineError
from deeplens.events.maintenance import ImageMaintenance
from deeplens.maintenance.model import MaintenanceRun, MaintenanceRuns, Report
from deeplens.tenants.model import Tenant

SLICE_SECONDS = 8.0
"""A batch of 25 slices, and a page too many in each, fit into the function's five minutes."""
LOST_AFTER = timedelta(minutes=5)
"""A slice that did not come to its end by then is sent again by the schedule."""
REST = timedelta(seconds=50)
"""Until a run that has asked for as many repairs as its tenant's window holds is carried on by the schedule."""


@dataclass(frozen=True, slots=True)
class Page:
    """A piece of a run that was done, the events that follow from it, and where the next piece begins.

    ``events`` ask other stages for work on images, ``told`` only says what was found: those fill no window. ``rest``
    when it found no room for more: the run rests until somebody, or the schedule, carries it on.
    """

    cursor: str
    report: Report
    events: tuple[Event, ...] = ()
    told: tuple[Event, ...] = ()
    rest: bool = False


class PagedWork(Protocol):
    def pages(self, tenant: Tenant, run: MaintenanceRun, before: datetime) -> Iterator[Page]:
        """Work from the run's cursor to the end, page by page; nothing younger than ``before`` is touched."""


class RunSlices:
    """Carry on runs of maintenance.

    A slice that begins elsewhere than its run stands was done already and is dropped, so that one run never becomes
    two; one that got lost is sent again by the schedule. A run ends when its pages do.

    Parameters
    ----------
    works : by the run's type.
    window : events of a slice that ask other stages for work; with that many the run rests.
    """

    def __init__(
        self,
        runs: MaintenanceRuns,
        works: Mapping[str, PagedWork],
        window: int,
        grace: timedelta,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runs, self._works, self._window, self._grace = runs, works, window, grace
        self._clock, self._monotonic = clock, monotonic

    def __call__(self, tenant: Tenant, batch: Sequence[ImageMaintenance]) -> list[Outcome]:
        return [attempt(lambda event=event: self._slice(tenant, event)) for event in batch]  # type: ignore[misc]

    def _slice(self, tenant: Tenant, event: ImageMaintenance) -> Outcome:
        run = self._runs.find(event.job or "")
        if run is None or run.tenant_id != tenant.id or run.type not in self._works:
            return Done(dropped="unknown run")
        if run.ended_at is not None or run.cursor != (event.cursor or ""):
            return Done(dropped="done already")
        if tenant.status != "active":
            # The schedule carries it on when the tenant is active again.
            return Done(dropped=tenant.status)
        try:
            done, ended, error = self._work(tenant, run)
        except DependencyUnavailable:
            raise
        except Exception as fault:
            failure = unforeseen(fault)
            self._give_up(run, failure, Page(run.cursor, Report()))
            return Failed(failure)
        resting = (done.rest or len(done.events) >= self._window) and not ended
        now = self._clock.now()
        if error is not None:
            return self._give_up(run, error, done)
        moved = run.moved(done.cursor, done.report, now + (REST if resting else LOST_AFTER), now if ended else None)
        if not self._runs.move(moved, run.cursor):
            return Done(dropped="done by another")
        if ended and moved.report.repaired:
            # What was asked for may fail: the next sweep looks again.
            self._runs.changed([tenant.id], now)
        asked = (*done.events, *done.told)
        return Done(asked if ended or resting else (*asked, slice_of(moved, now)))

    def _give_up(self, run: MaintenanceRun, error: PipelineError, done: Page) -> Outcome:
        """End a run that its tenant's own store, say, does not let go on; the next sweep tries again."""
        now = self._clock.now()
        ended = run.moved(done.cursor, done.report, now, now)
        self._runs.move(replace(ended, error=f"{error.code}: {error}"), run.cursor)
        self._runs.changed([run.tenant_id], now)
        return Done((*done.events, *done.told), dropped=error.code)

    def _work(self, tenant: Tenant, run: MaintenanceRun) -> tuple[Page, bool, PipelineError | None]:
        """Pages until the time or the window is used up; whether they came to their end, or to an error."""
        deadline, before = self._monotonic() + SLICE_SECONDS, self._clock.now() - self._grace
        done = Page(run.cursor, Report())
        try:
            for page in self._works[run.type].pages(tenant, run, before):
                events, told = (*done.events, *page.events), (*done.told, *page.told)
                done = Page(page.cursor, done.report + page.report, events, told, page.rest)
                if page.rest or self._monotonic() > deadline or len(events) >= self._window:
                    return done, False, None
        except PipelineError as error:
            # What the pages before it asked for is asked for all the same.
            return done, True, error
        return done, True, None


def slice_of(run: MaintenanceRun, now: datetime) -> ImageMaintenance:
    """The event that carries a run on."""
    return ImageMaintenance(
        maintenance_type=run.type,
        tenant_id=run.tenant_id,
        subject="tenant",
        job=run.id,
        cursor=run.cursor or None,
        requested_at=now,
    )
