"""/v1/admin/tenants: create, look at, suspend, resume, delete."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query

from deeplens.access.caller import AdministeredRecord, Administrator, Operator
from deeplens.embedding.built_in import BUILT_IN_MODEL
from deeplens.embedding.model import ModelRef
from deeplens.errors import ApiError
from deeplens.http.dependencies import Admin, AdminParts
from deeplens.http.problems import responses
from deeplens.http.schemas import ModelVersion
from deeplens.provisioning.schemas import (
    LimitsView,
    Placed,
    Status,
    TenantChange,
    TenantPage,
    TenantRequest,
    TenantView,
    VideoSettingsView,
)
from deeplens.tenants.limits import ResourceLimits
from deeplens.tenants.model import TenantStatus
from deeplens.tenants.placement import Placement
from deeplens.tenants.records import TenantRecord
from deeplens.usage.routes import usage_of
from deeplens.usage.schemas import Usage, UsageQuery

DELETABLE: tuple[TenantStatus, ...] = ("provisioning", "active", "suspended")

router = APIRouter(prefix="/v1/admin/tenants", tags=["tenants"])


@router.post("", status_code=201, summary="Create a tenant, or finish creating it", responses=responses(409))
def create_tenant(parts: Admin, _: Operator, wanted: TenantRequest) -> TenantView:
    """Makes its database, store and collection. When a part is away the answer is 503: repeat it, or wait a minute."""
    existing = parts.tenant_records.find(wanted.tenant_id)
    if existing is not None and existing.status != "provisioning":
        raise ApiError(409, "tenant-exists", "Tenant exists", f"{wanted.tenant_id} is {existing.status}.")
    given = wanted.placement
    placement = Placement(
        given.storage or parts.settings.default_storage,
        given.database_server.get_secret_value() if given.database_server else None,
        given.qdrant_url,
    )
    parts.provisioning.provision(wanted.tenant_id, wanted.name, model=_model(parts, wanted), placement=placement)
    parts.tenant_records.set_limits(wanted.tenant_id, ResourceLimits(**dict(wanted.limits)))
    if wanted.settings:
        parts.tenant_records.change(wanted.tenant_id, None, wanted.settings)
    return view_of(parts, wanted.tenant_id)


@router.get("", summary="List tenants", responses=responses())
def list_tenants(
    parts: Admin,
    _: Operator,
    after: Annotated[str, Query(max_length=64)] = "",
    status: Status | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> TenantPage:
    """By id."""
    found = parts.tenant_records.page(after, status, limit)
    return TenantPage(tenants=[shown(one) for one in found], next=found[-1].id if len(found) == limit else None)


@router.get("/{tenant_id}", summary="One tenant", responses=responses(404))
def tenant_detail(record: AdministeredRecord) -> TenantView:
    return shown(record)


@router.patch("/{tenant_id}", summary="Change name or settings", responses=responses(404, 409))
def change_tenant(parts: Admin, record: AdministeredRecord, wanted: TenantChange) -> TenantView:
    _require(record, "provisioning", "active", "suspended")
    parts.tenant_records.change(record.id, wanted.name, wanted.settings)
    if wanted.video:
        parts.tenant_records.change_video(record.id, wanted.video.model_dump(exclude_none=True))
    return view_of(parts, record.id)


@router.post("/{tenant_id}/suspend", summary="Refuse every request of a tenant", responses=responses(404, 409))
def suspend_tenant(parts: Admin, _: Operator, record: AdministeredRecord) -> TenantView:
    """In effect everywhere within ten seconds. What was accepted is still processed; nothing is removed."""
    if record.status != "suspended" and not parts.tenant_records.move(
        record.id, "suspended", parts.clock.now(), "active"
    ):
        _require(record, "active")
    return view_of(parts, record.id)


@router.post("/{tenant_id}/resume", summary="Let a suspended tenant in again", responses=responses(404, 409))
def resume_tenant(parts: Admin, _: Operator, record: AdministeredRecord) -> TenantView:
    if record.status != "active" and not parts.tenant_records.move(record.id, "active", parts.clock.now(), "suspended"):
        _require(record, "suspended")
    return view_of(parts, record.id)


@router.delete(
    "/{tenant_id}", status_code=202, summary="Delete a tenant with all it has", responses=responses(404, 409)
)
def delete_tenant(parts: Admin, _: Operator, record: AdministeredRecord) -> TenantView:
    """There is no way back. Its credentials end within ten seconds; files, vectors, database and records are removed
    by a job in the minutes after. The tenant's own view then is the receipt; its id is not given again."""
    if record.status not in ("deleting", "deleted") and not parts.tenant_records.move(
        record.id, "deleting", parts.clock.now(), *DELETABLE
    ):
        _require(record, *DELETABLE)
    return view_of(parts, record.id)


@router.put("/{tenant_id}/limits", summary="Set a tenant's limits", responses=responses(404))
def set_limits(parts: Admin, _: Operator, record: AdministeredRecord, wanted: LimitsView) -> TenantView:
    """Replaces all of them; in effect everywhere within ten seconds. What is stored already stays."""
    parts.tenant_records.set_limits(record.id, ResourceLimits(**dict(wanted)))
    return view_of(parts, record.id)


@router.get("/{tenant_id}/usage", summary="Limits and usage of a tenant", responses=responses(404))
def tenant_usage(parts: Admin, tenant: Administrator, query: Annotated[UsageQuery, Query()]) -> Usage:
    """What the tenant itself reads at /v1/usage."""
    limits = tenant.effective_limits(parts.default_limits)
    return usage_of(parts, tenant, limits, parts.request_counters.so_far(tenant.id, parts.clock.now()), query)


def view_of(parts: AdminParts, tenant_id: str) -> TenantView:
    record = parts.tenant_records.find(tenant_id)
    assert record is not None
    return shown(record)


def shown(record: TenantRecord) -> TenantView:
    return TenantView(
        tenant_id=record.id,
        name=record.name,
        status=record.status,
        status_since=record.status_since,
        created_at=record.created_at,
        model=ModelVersion(name=record.model.name, version=record.model.version),
        placement=Placed(
            storage_uri=record.storage_uri,
            own_database_server=record.own_database_server,
            qdrant_url=record.qdrant_url,
        ),
        limits=LimitsView(**record.limits.given()),
        settings=record.settings,
        video=VideoSettingsView(**asdict(record.video)),
        progress=record.progress,
    )


def _model(parts: AdminParts, wanted: TenantRequest) -> ModelRef:
    if wanted.model is None:
        return BUILT_IN_MODEL
    profile = parts.embedder.describe(wanted.model.name, wanted.model.version)
    parts.rollouts.register(profile)
    return profile.ref


def _require(record: TenantRecord, *statuses: str) -> None:
    if record.status not in statuses:
        raise ApiError(409, "tenant-status", "Not in this status", f"{record.id} is {record.status}.")
