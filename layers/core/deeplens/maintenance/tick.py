"""every minute → sweeps of tenants that changed, runs that wait → deeplens.images.maintenance"""

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar
from uuid import NAMESPACE_URL, uuid5

from deeplens.common.ports import Clock
from deeplens.events.maintenance import ImageMaintenance
from deeplens.maintenance.model import MaintenanceRun, MaintenanceRuns, SweepGrace, SweepInterval
from deeplens.maintenance.slices import LOST_AFTER, slice_of

REPORT_RETENTION = timedelta(days=90)


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
