"""every minute → sweeps of tenants that changed, runs of maintenance that rest → deeplens.images.maintenance"""

from datetime import timedelta
from typing import ClassVar
from uuid import NAMESPACE_URL, uuid5

from deeplens.common.ports import Clock
from deeplens.events.maintenance import ImageMaintenance
from deeplens.maintenance.model import MaintenanceRun, MaintenanceRuns, SweepGrace, SweepInterval
from deeplens.maintenance.slices import LOST_AFTER, slice_of

KEPT = timedelta(days=90)
"""How long reports of runs stand."""


class TickMaintenance:
    """Begin the sweeps that are due and carry on the runs that wait: a few queries, whatever the number of tenants.

    Parameters
    ----------
    sweep_grace : what is younger is left alone.
    sweep_every : time between two sweeps of a tenant that keeps changing.
    """

    name: ClassVar = "maintenance"
    sweeps_at_once: ClassVar = 20
    runs_at_once: ClassVar = 500

    def __init__(
        self, maintenance_runs: MaintenanceRuns, sweep_grace: SweepGrace, sweep_every: SweepInterval, clock: Clock
    ) -> None:
        self._runs, self._grace, self._every, self._clock = maintenance_runs, sweep_grace, sweep_every, clock

    def __call__(self) -> list[ImageMaintenance]:
        now = self._clock.now()
        self._runs.forget(now - KEPT, self.runs_at_once)
        for tenant_id in self._runs.sweeps_due(now, self._every, self.sweeps_at_once):
            run_id = f"mnt_{uuid5(NAMESPACE_URL, f'{tenant_id}/sweep/{now.isoformat()}').hex}"
            # Due at once: the next query sends its first slice, and no crash in between leaves it unsent.
            run = MaintenanceRun(run_id, tenant_id, "sweep", dry_run=False, created_at=now, due=now)
            self._runs.start(run, self._grace)
        waiting = self._runs.overdue(now, now + LOST_AFTER, self.runs_at_once)
        return [slice_of(run, now) for run in waiting]
