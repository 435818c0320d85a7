"""/v1/admin/tenants: create, read, suspend, resume, delete."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query

from deeplens.access.caller import AdministeredRecord, Administrator, Operator
from deeplens.common.ports import Clock
from deeplens.errors import ApiError
from deeplens.http.dependencies import Injected
from deeplens.http.problems import responses
from deeplens.provisioning.create import CreateTenant
from deeplens.provisioning.schemas import LimitsView, TenantChange, TenantPage, TenantRequest, TenantView
from deeplens.tenants.limits import ResourceLimits
from deeplens.tenants.model import TenantRecord, TenantStatus
from deeplens.tenants.ports import TenantRecords
from deeplens.usage.model import RequestMinutes
from deeplens.usage.read import ReadUsage
from deeplens.usage.schemas import Usage, UsageQuery

DELETABLE: tuple[TenantStatus, ...] = ("provisioning", "active", "suspended")

router = APIRouter(prefix="/v1/admin/tenants", tags=["tenants"])


class TenantViews:
    """Tenants as the routes show and change them."""

    def __init__(self, tenant_records: TenantRecords, clock: Clock) -> None:
        self._records, self._clock = tenant_records, clock

    def view(self, tenant_id: str) -> TenantView:
        record = self._records.find(tenant_id)
        assert record is not None
        return view_of(record)

    def change_status(self, record: TenantRecord, status: TenantStatus, *before: TenantStatus) -> TenantView:
        """Change the status unless the tenant has it. Raises ``ApiError`` 409 unless it was one of ``before``."""
        if record.status != status and not self._records.change_status(record.id, status, self._clock.now(), *before):
            _require(record, *before)
        return self.view(record.id)


@router.post("", status_code=201, summary="Create a tenant, or finish creating it", responses=responses(409))
def create_tenant(
    _: Operator, create: Injected[CreateTenant], views: Injected[TenantViews], wanted: TenantRequest
) -> TenantView:
    """Create its database, store and collection. 503 while a dependency is unavailable: retry after a minute."""
    create(wanted)
    return views.view(wanted.tenant_id)


@router.get("", summary="List tenants", responses=responses())
def list_tenants(
    _: Operator,
    tenant_records: Injected[TenantRecords],
    after: Annotated[str, Query(max_length=64)] = "",
    status: TenantStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> TenantPage:
    """By id."""
    page = tenant_records.page(after, status, limit)
    return TenantPage(tenants=[view_of(record) for record in page], next=page[-1].id if len(page) == limit else None)


@router.get("/{tenant_id}", summary="One tenant", responses=responses(404))
def tenant_detail(record: AdministeredRecord) -> TenantView:
    return view_of(record)


@router.patch("/{tenant_id}", summary="Change name or settings", responses=responses(404, 409))
def change_tenant(
    record: AdministeredRecord,
    tenant_records: Injected[TenantRecords],
    views: Injected[TenantViews],
    wanted: TenantChange,
) -> TenantView:
    _require(record, *DELETABLE)
    tenant_records.change(record.id, wanted.name, wanted.settings)
    if wanted.video:
        tenant_records.change_video(record.id, wanted.video.model_dump(exclude_none=True))
    return views.view(record.id)


@router.post("/{tenant_id}/suspend", summary="Refuse every request of a tenant", responses=responses(404, 409))
def suspend_tenant(_: Operator, record: AdministeredRecord, views: Injected[TenantViews]) -> TenantView:
    """In effect everywhere within ten seconds. What was accepted is still processed; nothing is removed."""
    return views.change_status(record, "suspended", "active")


@router.post("/{tenant_id}/resume", summary="Let a suspended tenant in again", responses=responses(404, 409))
def resume_tenant(_: Operator, record: AdministeredRecord, views: Injected[TenantViews]) -> TenantView:
    return views.change_status(record, "active", "suspended")


@router.delete(
    "/{tenant_id}", status_code=202, summary="Delete a tenant with all it has", responses=responses(404, 409)
)
def delete_tenant(_: Operator, record: AdministeredRecord, views: Injected[TenantViews]) -> TenantView:
    """There is no way back. Its credentials end within ten seconds; files, vectors, database and records are removed
    by a job in the minutes after. The tenant's own view then is the receipt; its id is not given again."""
    if record.status == "deleted":
        return view_of(record)
    return views.change_status(record, "deleting", *DELETABLE)


@router.put("/{tenant_id}/limits", summary="Set a tenant's limits", responses=responses(404))
def set_limits(
    _: Operator,
    record: AdministeredRecord,
    tenant_records: Injected[TenantRecords],
    views: Injected[TenantViews],
    wanted: LimitsView,
) -> TenantView:
    """Replaces all of them; in effect everywhere within ten seconds. What is stored already stays."""
    tenant_records.set_limits(record.id, ResourceLimits(**dict(wanted)))
    return views.view(record.id)


@router.get("/{tenant_id}/usage", summary="Limits and usage of a tenant", responses=responses(404))
def tenant_usage(
    tenant: Administrator,
    read: Injected[ReadUsage],
    counters: Injected[RequestMinutes],
    defaults: Injected[ResourceLimits],
    clock: Injected[Clock],
    query: Annotated[UsageQuery, Query()],
) -> Usage:
    """What the tenant itself reads at /v1/usage."""
    requests = counters.so_far(tenant.id, clock.now())
    return read(tenant, tenant.effective_limits(defaults), requests, query)


def view_of(record: TenantRecord) -> TenantView:
    fields = asdict(record)
    limits = LimitsView(**record.limits.given())
    return TenantView.model_validate({**fields, "tenant_id": record.id, "placement": fields, "limits": limits})


def _require(record: TenantRecord, *statuses: TenantStatus) -> None:
    if record.status not in statuses:
        raise ApiError(409, "tenant-status", "Not in this status", f"{record.id} is {record.status}.")
