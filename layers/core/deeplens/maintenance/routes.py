"""/v1/admin/maintenance: sweeps and storage optimisation of a tenant, and what they found."""

from typing import Annotated

from fastapi import APIRouter, Query

from deeplens.access.caller import AuthenticatedAdministrator, administered_tenant
from deeplens.errors import ApiError
from deeplens.http.dependencies import Admin
from deeplens.http.problems import responses
from deeplens.http.schemas import TenantId
from deeplens.maintenance.model import MaintenanceRun
from deeplens.maintenance.schemas import MaintenanceList, MaintenanceRequest, MaintenanceView
from deeplens.maintenance.start import StartMaintenance

router = APIRouter(prefix="/v1/admin/maintenance", tags=["maintenance"])


@router.post("", status_code=202, summary="Start a run", responses=responses(404, 409))
def start_maintenance(
    parts: Admin, principal: AuthenticatedAdministrator, wanted: MaintenanceRequest
) -> MaintenanceView:
    """Runs in slices beside the tenant's work. A dry run finds the same and changes nothing."""
    tenant = administered_tenant(parts, principal, wanted.tenant_id)
    start = StartMaintenance(parts.maintenance_runs, parts.publisher, parts.sweep_grace, parts.clock)
    return shown(start(tenant, wanted.type, dry_run=wanted.dry_run))


@router.get("", summary="Runs, newest first", responses=responses())
def list_maintenance(
    parts: Admin,
    principal: AuthenticatedAdministrator,
    tenant_id: Annotated[TenantId | None, Query(description="all tenants if absent, for operators")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> MaintenanceList:
    """A tenant's own credentials show its own runs only."""
    wanted = tenant_id if principal.tenant_id is None else principal.tenant_id
    if tenant_id not in (None, wanted):
        return MaintenanceList(runs=[])
    return MaintenanceList(runs=[shown(run) for run in parts.maintenance_runs.of_tenant(wanted, limit)])


@router.get("/{run_id}", summary="One run and its report", responses=responses(404))
def maintenance_detail(parts: Admin, principal: AuthenticatedAdministrator, run_id: str) -> MaintenanceView:
    run = parts.maintenance_runs.find(run_id)
    if run is None or principal.tenant_id not in (None, run.tenant_id):
        raise ApiError(404, "maintenance-not-found", "Run not found", f"There is no run {run_id[:64]}.")
    return shown(run)


def shown(run: MaintenanceRun) -> MaintenanceView:
    checked = {name: count for name, count in run.report.checked.items() if name != "expected"}
    return MaintenanceView(
        run_id=run.id,
        tenant_id=run.tenant_id,
        type=run.type,
        store_id=run.cursor.partition(":")[0] if run.type == "store-scan" else None,
        dry_run=run.dry_run,
        state="running" if run.ended_at is None else "failed" if run.error else "ended",
        error=run.error,
        created_at=run.created_at,
        ended_at=run.ended_at,
        slices=run.slices,
        checked=checked,
        progress=progress_of(run),
        found=run.report.found,
        repaired=run.report.repaired,
        bytes_freed=run.report.bytes_freed,
        examples=list(run.report.examples),
    )


def progress_of(run: MaintenanceRun) -> float | None:
    """The share of images that a scan has done; images that came or went since it began may shift it a little."""
    expected = run.report.checked.get("expected")
    if run.ended_at is not None or expected is None:
        return 1.0 if run.ended_at and not run.error else None
    return round(min(1.0, run.report.checked.get("images", 0) / max(1, expected)), 4)
