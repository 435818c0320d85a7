"""Starting a run of maintenance: its row, then the event of its first slice."""

from datetime import timedelta

from deeplens.common.ids import new_id
from deeplens.common.outgoing import OutgoingMessage
from deeplens.common.ports import Clock, EventPublisher
from deeplens.errors import ApiError
from deeplens.events.ids import follow_up_id
from deeplens.maintenance.model import MaintenanceRun, MaintenanceRuns, MaintenanceType
from deeplens.maintenance.slices import LOST_AFTER, slice_of
from deeplens.tenants.model import Tenant


class StartMaintenance:
    """Start a run. Should its event get lost, the schedule sends it within minutes."""

    def __init__(self, runs: MaintenanceRuns, publisher: EventPublisher, grace: timedelta, clock: Clock) -> None:
        self._runs, self._publisher, self._grace, self._clock = runs, publisher, grace, clock

    def __call__(self, tenant: Tenant, type: MaintenanceType, *, dry_run: bool, cursor: str = "") -> MaintenanceRun:
        """The new run. ``ApiError`` 409 while another one of the tenant and type has not ended."""
        now = self._clock.now()
        run = MaintenanceRun(new_id("mnt", now), tenant.id, type, dry_run, now, now + LOST_AFTER, cursor)
        if not self._runs.start(run, self._grace):
            detail = f"A {type} of {tenant.id} has not ended; GET /v1/admin/maintenance?tenant_id={tenant.id} shows it."
            raise ApiError(409, "maintenance-running", "Maintenance running", detail)
        self._publisher.publish([OutgoingMessage(slice_of(run, now), follow_up_id("maintenance", run.id, 0))])
        return run
