"""Bodies of ``/v1/admin/maintenance``."""

from dataclasses import asdict
from typing import Any, Literal

from pydantic import AwareDatetime, ConfigDict, Field

from deeplens.http.schemas import ApiModel, TenantId, example, view
from deeplens.maintenance.model import MaintenanceRun

Type = Literal["sweep", "storage-optimisation", "duplicate-scan"]
KnownType = Type | Literal["store-scan"]
RUN = {
    "runId": "mnt_01kd1v8q4w2m6n9r5t7x3z0abc",
    "tenantId": "tenant_acme",
    "type": "sweep",
    "dryRun": False,
    "state": "ended",
    "createdAt": "2026-11-20T10:30:00Z",
    "endedAt": "2026-11-20T10:30:09Z",
    "slices": 2,
    "checked": {"rows": 1200, "objects": 4801, "vectors": 1199},
    "found": {"row-without-vector": 1, "object-without-row": 1},
    "repaired": {"row-without-vector": 1, "object-without-row": 1},
    "bytesFreed": 20480,
    "examples": [
        {"kind": "row-without-vector", "subject": "img_01kd1v8q4w2m6n9r5t7x3z0abc", "detail": "deeplens-visual 2"},
        {"kind": "object-without-row", "subject": "images/img_01kd1v8q4w2m6n9r5t7x3z0abd.jpg"},
    ],
}


class MaintenanceRequest(ApiModel):
    """``sweep`` finds and repairs contradictions between rows, objects and vectors; ``storage-optimisation`` deletes
    derived files that are not needed; ``duplicate-scan`` compares every image with all others."""

    model_config = ConfigDict(extra="forbid", **example({"tenantId": "tenant_acme", "type": "sweep", "dryRun": True}))

    tenant_id: TenantId
    type: Type
    dry_run: bool = Field(default=False, description="only report")


class MaintenanceView(ApiModel):
    """A run and its report so far. ``repaired`` counts what was deleted, marked, or requested from another stage."""

    model_config = example(RUN)

    run_id: str
    tenant_id: str
    type: KnownType
    store_id: str | None = Field(default=None, description="the scanned store of a store-scan")
    dry_run: bool
    state: Literal["running", "ended", "failed"]
    error: str | None = Field(default=None, description="why it failed; a sweep is tried again the next day")
    created_at: AwareDatetime
    ended_at: AwareDatetime | None = None
    slices: int
    progress: float | None = Field(default=None, description="share of the work, 0 to 1, where it is known")
    checked: dict[str, int] = Field(description="rows, objects, vectors, images")
    found: dict[str, int] = Field(description="by kind")
    repaired: dict[str, int]
    bytes_freed: int = Field(description="in a dry run, the bytes that would be freed")
    examples: list[dict[str, Any]] = Field(description="the first findings")


class MaintenanceList(ApiModel):
    model_config = example({"runs": [RUN]})

    runs: list[MaintenanceView] = Field(description="newest first")


def maintenance_view(run: MaintenanceRun) -> MaintenanceView:
    checked = {name: count for name, count in run.report.checked.items() if name != "expected"}
    return view(
        MaintenanceView,
        run,
        run_id=run.id,
        store_id=run.cursor.partition(":")[0] if run.type == "store-scan" else None,
        state="running" if run.ended_at is None else "failed" if run.error else "ended",
        progress=progress_of(run),
        **asdict(run.report) | {"checked": checked},
    )


def progress_of(run: MaintenanceRun) -> float | None:
    """The share of images that a scan has done, approximate if images came or went since it began."""
    expected = run.report.checked.get("expected")
    if run.ended_at is not None or expected is None:
        return 1.0 if run.ended_at and not run.error else None
    return round(min(1.0, run.report.checked.get("images", 0) / max(1, expected)), 4)
