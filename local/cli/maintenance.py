"""``deeplens maintenance``: start maintenance runs and show their reports."""

from typing import Annotated, Any

import typer
from deeplens.maintenance.model import MaintenanceRun

from local.cli.admin import admin_api
from local.cli.commands import Commands
from local.cli.container import current_container
from local.cli.screen import fail, plain, show, table

app = Commands(help="Check and repair a tenant's data, and show the findings.")
TYPES = ("sweep", "storage-optimisation", "duplicate-scan")


@app.command(example="deeplens maintenance start tenant_demo --dry-run")
def start(
    tenant_id: Annotated[str, typer.Argument(help="e.g. tenant_demo")],
    type: Annotated[str, typer.Option(help=" or ".join(TYPES))] = "sweep",
    dry_run: Annotated[bool, typer.Option(help="Only report, repair nothing.")] = False,
) -> None:
    """Start a run, which continues in slices. `deeplens maintenance show` shows its progress."""
    if type not in TYPES:
        raise fail(f"there is no type {type}; choose {' or '.join(TYPES)}")
    run = admin_api()("POST", "/maintenance", {"tenantId": tenant_id, "type": type, "dryRun": dry_run})
    show({"id": run["runId"]}, run["runId"])


@app.command("show", example="deeplens maintenance show mnt_01kd1v8q")
def show_run(run_id: Annotated[str, typer.Argument(help="The id that `start` printed.")]) -> None:
    """Show the report of a run."""
    run = current_container().maintenance_runs.find(run_id)
    if run is None:
        raise fail(f"there is no run {run_id}")
    dry = ", dry run" * run.dry_run
    made = table("finding", "found", "repaired")
    for kind, count in run.report.found.items():
        made.add_row(kind, str(count), str(run.report.repaired.get(kind, 0)))
    show(
        _document(run),
        f"{run.type} of {run.tenant_id}{dry}: {state_of(run)}, {run.slices} slices",
        "checked " + ", ".join(f"{count} {name}" for name, count in run.report.checked.items()),
        made if run.report.found else "nothing found",
        *("  ".join(example.values()) for example in run.report.examples),
    )


@app.command("list", example="deeplens maintenance list tenant_demo --limit 5")
def list_runs(
    tenant_id: Annotated[str, typer.Argument(help="Default: all tenants.")] = "",
    limit: Annotated[int, typer.Option(min=1)] = 20,
) -> None:
    """List runs, newest first."""
    runs = current_container().maintenance_runs.of_tenant(tenant_id or None, limit)
    # Lines instead of a table, which would truncate ids.
    show([_document(run) for run in runs], *map(_line, runs))


def _line(run: MaintenanceRun) -> str:
    found, repaired = (sum(counts.values()) for counts in (run.report.found, run.report.repaired))
    kind = run.type + " (dry)" * run.dry_run
    return f"{run.id}  {run.tenant_id}  {kind}  {state_of(run)}  {found} found, {repaired} repaired"


def _document(run: MaintenanceRun) -> dict[str, Any]:
    report = plain(run.report)
    return {
        "id": run.id,
        "tenantId": run.tenant_id,
        "type": run.type,
        "dryRun": run.dry_run,
        "state": state_of(run),
        "slices": run.slices,
        **report,
    }


def state_of(run: MaintenanceRun) -> str:
    if run.ended_at is None:
        return "running"
    return f"failed: {run.error}" if run.error else f"ended {run.ended_at:%F %T}"
