"""What the audit log holds: who changed what, and the outcome."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deeplens.access.principal import Principal


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A write that a principal requested.

    Attributes
    ----------
    tenant_id : the tenant that the write concerns.
    action : method and route, e.g. ``POST /v1/admin/tenants``.
    target : the path that was called.
    detail : the request's body without secrets.
    """

    principal: Principal
    tenant_id: str | None
    action: str
    target: str
    detail: Any
    request_id: str


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """A row of the log."""

    id: int
    at: datetime
    actor: str
    client_id: str | None
    tenant_id: str | None
    action: str
    target: str
    outcome: str
    detail: Any
    request_id: str
