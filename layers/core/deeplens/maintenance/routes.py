"""/v1/admin/maintenance: sweeps and storage optimisation of a tenant, and what they found."""

from typing import Annotated

from fastapi import APIRouter, Query

from deeplens.access.caller import AuthenticatedAdministrator, administered_tenant
from deeplens.errors import ApiError
from deeplens.http.dependencies import Injected, Publishing
from deeplens.http.problems import responses
from deeplens.http.schemas import TenantId
from deeplens.maintenance.model import MaintenanceRuns
from deeplens.maintenance.schemas import MaintenanceList, MaintenanceRequest, MaintenanceView, maintenance_view
from deeplens.maintenance.slices import StartMaintenance
from deeplens.tenants.ports import TenantDirectory

router = APIRouter(prefix="/v1/admin/maintenance", tags=["maintenance"])


@router.post("", status_code=202, summary="Start a run", responses=responses(404, 409))
def start_maintenance(
    principal: AuthenticatedAdministrator,
    request: MaintenanceRequest,
    tenants: Injected[TenantDirectory],
    start: Injected[StartMaintenance],
    publish: Publishing,
) -> MaintenanceView:
    """Runs in slices beside the tenant's work. A dry run finds the same and changes nothing."""
    tenant = administered_tenant(principal, tenants, request.tenant_id)
    run, events = start(tenant, request.type, dry_run=request.dry_run)
    publish.best_effort(events)
    return maintenance_view(run)


@router.get("", summary="Runs, newest first", responses=responses())
def list_maintenance(
    principal: AuthenticatedAdministrator,
    runs: Injected[MaintenanceRuns],
    tenant_id: Annotated[TenantId | None, Query(description="all tenants if absent, for operators")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> MaintenanceList:
    """A tenant's own credentials show its own runs only."""
    reachable = tenant_id if principal.tenant_id is None else principal.tenant_id
    if tenant_id not in (None, reachable):
        return MaintenanceList(runs=[])
    return MaintenanceList(runs=[maintenance_view(run) for run in runs.of_tenant(reachable, limit)])


@router.get("/{run_id}", summary="One run and its report", responses=responses(404))
def maintenance_detail(
    principal: AuthenticatedAdministrator, runs: Injected[MaintenanceRuns], run_id: str
) -> MaintenanceView:
    run = runs.find(run_id)
    if run is None or principal.tenant_id not in (None, run.tenant_id):
        raise ApiError(404, "maintenance-not-found", "Run not found", f"There is no run {run_id[:64]}.")
    return maintenance_view(run)
