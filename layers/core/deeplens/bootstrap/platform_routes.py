"""/v1/admin/audit and /v1/admin/parts: what happened, and what answers."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, NewType

from fastapi import APIRouter, Query

from deeplens.access.caller import AdministeredRecord, Operator
from deeplens.access.ports import AuditLog
from deeplens.access.schemas import AuditPage
from deeplens.http.dependencies import Injected
from deeplens.http.problems import responses
from deeplens.http.schemas import PartHealth, PlatformHealth

router = APIRouter(prefix="/v1/admin", tags=["platform"])
Before = Annotated[int, Query(ge=1, le=2**62, description="id of the last entry of the page before")]
Limit = Annotated[int, Query(ge=1, le=500)]


HealthChecks = NewType("HealthChecks", dict[str, Callable[[], object]])
"""A request to each shared dependency, by its name; it raises when the dependency is unavailable."""


@router.get("/audit", summary="What administrators did", responses=responses())
def audit(_: Operator, log: Injected[AuditLog], before: Before = 2**62, limit: Limit = 100) -> AuditPage:
    """The newest first."""
    return _page(log, None, before, limit)


@router.get("/tenants/{tenant_id}/audit", summary="What administrators did to a tenant", responses=responses(404))
def tenant_audit(
    record: AdministeredRecord, log: Injected[AuditLog], before: Before = 2**62, limit: Limit = 100
) -> AuditPage:
    """The newest first."""
    return _page(log, record.id, before, limit)


@router.get("/parts", summary="Whether the parts answer", responses=responses())
def parts_health(_: Operator, checks: Injected[HealthChecks]) -> PlatformHealth:
    """Database, vector index, broker and inference endpoint, asked now."""
    with ThreadPoolExecutor() as threads:
        parts = list(threads.map(lambda item: _check(*item), checks.items()))
    return PlatformHealth(healthy=all(part.healthy for part in parts), parts=parts)


def _check(name: str, check: Callable[[], object]) -> PartHealth:
    started = time.perf_counter()
    reason = None
    try:
        check()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:200]
    spent = round((time.perf_counter() - started) * 1000, 1)
    return PartHealth(part=name, healthy=reason is None, milliseconds=spent, reason=reason)


def _page(log: AuditLog, tenant_id: str | None, before: int, limit: int) -> AuditPage:
    entries = log.page(tenant_id, before, limit)
    return AuditPage(entries=entries, next=entries[-1].id if len(entries) == limit else None)
