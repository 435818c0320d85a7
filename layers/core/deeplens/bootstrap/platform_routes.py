"""/v1/admin/audit and /v1/admin/parts: what happened, and what answers."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

from fastapi import APIRouter, Query

from deeplens.access.caller import AdministeredRecord, Operator
from deeplens.access.schemas import AuditPage, AuditView
from deeplens.embedding.built_in import BUILT_IN_MODEL
from deeplens.http.dependencies import Admin, AdminParts
from deeplens.http.problems import responses
from deeplens.http.schemas import PartHealth, PlatformHealth

router = APIRouter(prefix="/v1/admin", tags=["platform"])
Before = Annotated[int, Query(ge=1, le=2**62, description="id of the last entry of the page before")]
Limit = Annotated[int, Query(ge=1, le=500)]


@router.get("/audit", summary="What administrators did", responses=responses())
def audit(parts: Admin, _: Operator, before: Before = 2**62, limit: Limit = 100) -> AuditPage:
    """The newest first."""
    return _page(parts, None, before, limit)


@router.get("/tenants/{tenant_id}/audit", summary="What administrators did to a tenant", responses=responses(404))
def tenant_audit(parts: Admin, record: AdministeredRecord, before: Before = 2**62, limit: Limit = 100) -> AuditPage:
    """The newest first."""
    return _page(parts, record.id, before, limit)


@router.get("/parts", summary="Whether the parts answer", responses=responses())
def parts_health(parts: Admin, _: Operator) -> PlatformHealth:
    """Database, vector index, broker and inference endpoint, asked now."""
    checks: dict[str, Callable[[], object]] = {
        "database": lambda: parts.tenant_records.page("", None, 1),
        "index": lambda: parts.index.ping(parts.settings.qdrant_url),
        "broker": lambda: parts.publisher.ping(),
        "inference": lambda: parts.embedder.describe(BUILT_IN_MODEL.name, BUILT_IN_MODEL.version),
    }
    with ThreadPoolExecutor(len(checks)) as askers:
        found = list(askers.map(lambda item: _asked(*item), checks.items()))
    return PlatformHealth(healthy=all(one.healthy for one in found), parts=found)


def _asked(name: str, check: Callable[[], object]) -> PartHealth:
    started = time.perf_counter()
    reason = None
    try:
        check()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:200]
    spent = round((time.perf_counter() - started) * 1000, 1)
    return PartHealth(part=name, healthy=reason is None, milliseconds=spent, reason=reason)


def _page(parts: AdminParts, tenant_id: str | None, before: int, limit: int) -> AuditPage:
    found = parts.audit.page(tenant_id, before, limit)
    entries = [AuditView(**{name: getattr(one, name) for name in AuditView.model_fields}) for one in found]
    return AuditPage(entries=entries, next=found[-1].id if len(found) == limit else None)
