"""Maintenance in slices: starts a run, works pages until a slice's time is up, then requests the next slice.

``TickMaintenance`` starts daily sweeps, and requests slices that were lost, every minute.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import ClassVar, NewType, Protocol
from uuid import NAMESPACE_URL, uuid5

from deeplens.common.event import Event
from deeplens.common.ids import new_id
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Failed, Outcome, attempt_each, unforeseen
from deeplens.errors import ApiError, DependencyUnavailable, PipelineError, StageFailed
from deeplens.events.ids import with_follow_up_id
from deeplens.events.maintenance import ImageMaintenance
from deeplens.maintenance.model import (
    MaintenanceRun,
    MaintenanceRuns,
    MaintenanceType,
    Report,
    SweepGrace,
    SweepInterval,
)
from deeplens.rollouts.model import BackfillWindow
from deeplens.tenants.model import Tenant

SLICE_SECONDS = 8.0
"""A batch of 25 slices, and a page too many in each, fit into the function's five minutes."""
LOST_AFTER = timedelta(minutes=5)
"""The schedule sends a slice again that has not ended by then."""
REST = timedelta(seconds=50)
"""The schedule continues a run whose repairs fill its tenant's window after this time."""
REPORT_RETENTION = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Page:
    """A finished piece of a run, the events that follow from it, and the cursor of the next piece.

    Attributes
    ----------
    events : ask other stages for work on images; their number is limited by the tenant's window.
    notices : only say what was found, and are not limited.
    rest : whether there was no room for more; the run rests until an event or the schedule wakes it.
    """

    cursor: str
    report: Report
    events: tuple[Event, ...] = ()
    notices: tuple[Event, ...] = ()
    rest: bool = False

    def followed_by(self, page: "Page") -> "Page":
        events, notices = (*self.events, *page.events), (*self.notices, *page.notices)
        return Page(page.cursor, self.report + page.report, events, notices, page.rest)


@dataclass(frozen=True, slots=True)
class Slice:
    """What one slice did: its pages as one, whether the run is finished with them, and the error that stopped it."""

    page: Page
    finished: bool = False
    error: PipelineError | None = None


class PagedWork(Protocol):
    def pages(self, tenant: Tenant, run: MaintenanceRun, before: datetime) -> Iterator[Page]:
        """Work from the run's cursor to the end, page by page; nothing younger than ``before`` is touched."""


PagedWorks = NewType("PagedWorks", Mapping[str, PagedWork])
"""The work of each type of run."""


@dataclass(frozen=True)
class RunSlices:
    """Continue runs of maintenance, one slice per event.

    A slice whose cursor differs from its run's was done already and is dropped, so that one run never becomes two; the
    schedule sends a lost slice again. A run rests after a slice with ``window`` events that ask other stages for work,
    and ends when its pages do.
    """

    maintenance_runs: MaintenanceRuns
    works: PagedWorks
    window: BackfillWindow
    grace: SweepGrace
    clock: Clock

    def __call__(self, tenant: Tenant, batch: Sequence[ImageMaintenance]) -> list[Outcome]:
        return attempt_each(partial(self._slice, tenant), batch)

    def _slice(self, tenant: Tenant, event: ImageMaintenance) -> Outcome:
        run = self.maintenance_runs.find(event.job or "")
        if run is None or run.tenant_id != tenant.id or run.type not in self.works:
            return Done(dropped="unknown run")
        if run.ended_at is not None or run.cursor != (event.cursor or ""):
            return Done(dropped="done already")
        if tenant.status != "active":
            # The schedule continues it when the tenant is active again.
            return Done(dropped=tenant.status)
        done = self._work(tenant, run)
        return self._move(run, done) if done.error is None else self._give_up(run, done.page, done.error)

    def _work(self, tenant: Tenant, run: MaintenanceRun) -> Slice:
        """Work pages until the time or the window is used up, or the pages end."""
        deadline, before = time.monotonic() + SLICE_SECONDS, self.clock.now() - self.grace
        done = Page(run.cursor, Report())
        try:
            for page in self.works[run.type].pages(tenant, run, before):
                done = done.followed_by(page)
                if page.rest or time.monotonic() > deadline or len(done.events) >= self.window:
                    return Slice(done)
        except DependencyUnavailable:
            raise
        except PipelineError as error:
            # The events of the pages before it are published all the same.
            return Slice(done, error=error)
        except Exception as error:
            return Slice(Page(run.cursor, Report()), error=unforeseen(error))
        return Slice(done, finished=True)

    def _move(self, run: MaintenanceRun, done: Slice) -> Outcome:
        """Keep how far the run has come, and ask for its next slice unless it has finished or rests."""
        page, now = done.page, self.clock.now()
        resting = not done.finished and (page.rest or len(page.events) >= self.window)
        due = now + (REST if resting else LOST_AFTER)
        moved = run.moved(page.cursor, page.report, due, now if done.finished else None)
        if not self.maintenance_runs.move(moved, run.cursor):
            return Done(dropped="done by another")
        if done.finished and moved.report.repaired:
            # What was asked for may fail: the next sweep looks again.
            self.maintenance_runs.changed([run.tenant_id], now)
        following = () if done.finished or resting else (slice_of(moved, now),)
        return Done((*page.events, *page.notices, *following))

    def _give_up(self, run: MaintenanceRun, page: Page, error: PipelineError) -> Outcome:
        """End a run that an error stops, e.g. of the tenant's own store; the next sweep tries again."""
        now = self.clock.now()
        ended = run.moved(page.cursor, page.report, now, now)
        self.maintenance_runs.move(replace(ended, error=f"{error.code}: {error}"), run.cursor)
        self.maintenance_runs.changed([run.tenant_id], now)
        if isinstance(error, StageFailed):
            return Failed(error)
        return Done((*page.events, *page.notices), dropped=error.code)


@dataclass(frozen=True)
class StartMaintenance:
    """Start a run and return it with its first slice's event. If that is lost, the schedule sends it within minutes."""

    maintenance_runs: MaintenanceRuns
    grace: SweepGrace
    clock: Clock

    def __call__(
        self, tenant: Tenant, type: MaintenanceType, *, dry_run: bool, cursor: str = ""
    ) -> tuple[MaintenanceRun, list[ImageMaintenance]]:
        """Raises ``ApiError`` 409 while another run of the tenant and type has not ended."""
        now = self.clock.now()
        run = MaintenanceRun(new_id("mnt", now), tenant.id, type, dry_run, now, now + LOST_AFTER, cursor)
        if not self.maintenance_runs.start(run, self.grace):
            detail = f"A {type} of {tenant.id} has not ended; GET /v1/admin/maintenance?tenant_id={tenant.id} shows it."
            raise ApiError(409, "maintenance-running", "Maintenance running", detail)
        return run, [with_follow_up_id(slice_of(run, now), "maintenance", run.id)]


def slice_of(run: MaintenanceRun, now: datetime) -> ImageMaintenance:
    """The event of a run's next slice."""
    return ImageMaintenance(
        maintenance_type=run.type,
        tenant_id=run.tenant_id,
        subject="tenant",
        job=run.id,
        cursor=run.cursor or None,
        requested_at=now,
    )


@dataclass(frozen=True)
class TickMaintenance:
    """Start the sweeps that are due and continue the runs that wait, in a few queries over all tenants."""

    name: ClassVar = "maintenance"
    sweeps_at_once: ClassVar = 20
    runs_at_once: ClassVar = 500

    maintenance_runs: MaintenanceRuns
    sweep_grace: SweepGrace
    sweep_every: SweepInterval
    clock: Clock

    def __call__(self) -> list[ImageMaintenance]:
        now = self.clock.now()
        self.maintenance_runs.forget(now - REPORT_RETENTION, self.runs_at_once)
        for tenant_id in self.maintenance_runs.sweeps_due(now, self.sweep_every, self.sweeps_at_once):
            run_id = f"mnt_{uuid5(NAMESPACE_URL, f'{tenant_id}/sweep/{now.isoformat()}').hex}"
            # Due at once: the query below sends its first slice, even if this process crashes before.
            run = MaintenanceRun(run_id, tenant_id, "sweep", dry_run=False, created_at=now, due=now)
            self.maintenance_runs.start(run, self.sweep_grace)
        waiting = self.maintenance_runs.overdue(now, now + LOST_AFTER, self.runs_at_once)
        return [slice_of(run, now) for run in waiting]
