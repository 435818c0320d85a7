"""/v1/admin/tenants/{id}/duplicates: what a tenant wants done about duplicates."""

from dataclasses import asdict

from fastapi import APIRouter

from deeplens.access.caller import Administrator
from deeplens.duplicates.schemas import PolicyView
from deeplens.http.dependencies import Injected
from deeplens.http.problems import responses
from deeplens.tenants.policies import DuplicatePolicy
from deeplens.tenants.ports import TenantRecords

router = APIRouter(prefix="/v1/admin/tenants/{tenant_id}/duplicates", tags=["tenants"])


@router.get("", summary="A tenant's policy on duplicates", responses=responses(404))
def duplicate_policy(tenant: Administrator) -> PolicyView:
    return PolicyView(**asdict(tenant.duplicates))


@router.put("", summary="Set a tenant's policy on duplicates", responses=responses(404))
def set_duplicate_policy(tenant: Administrator, records: Injected[TenantRecords], wanted: PolicyView) -> PolicyView:
    """In effect everywhere within ten seconds. What was merged stays merged, and can be undone as long as it could."""
    records.set_duplicates(tenant.id, DuplicatePolicy(wanted.action, wanted.undo_seconds))
    return wanted
