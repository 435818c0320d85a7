"""Starting a run of maintenance: its row, then the event of its first slice."""

from dataclasses import dataclass

from deeplens.common.ids import new_id
from deeplens.common.ports import Clock
from deeplens.errors import ApiError
from deeplens.events.ids import follow_up_id
from deeplens.events.maintenance import ImageMaintenance
from deeplens.maintenance.model import MaintenanceRun, MaintenanceRuns, MaintenanceType, SweepGrace
from deeplens.maintenance.slices import LOST_AFTER, slice_of
from deeplens.tenants.model import Tenant


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
        first = slice_of(run, now).model_copy(update={"event_id": follow_up_id("maintenance", run.id, 0)})
        return run, [first]
