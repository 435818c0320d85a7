"""The audit log: who changed what, and how it ended. Rows are only ever added; a trigger holds to it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deeplens.access.principal import Principal
from deeplens.database.connections import Connections
from deeplens.database.values import as_jsonb, as_text

APPEND = """
INSERT INTO audit_log (actor, client_id, actor_tenant_id, tenant_id, action, target, outcome, detail, request_id)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
READ = """
SELECT id, at, actor, client_id, tenant_id, action, target, outcome, detail, request_id FROM audit_log
WHERE (%s::text IS NULL OR tenant_id = %s) AND id < %s ORDER BY id DESC LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class Deed:
    """A write that somebody asked for.

    Attributes
    ----------
    tenant_id : of the tenant that it is about.
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
class AuditEntry:
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


class PostgresAudit:
    """The table ``audit_log``."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def append(self, deed: Deed, outcome: str) -> None:
        """Note ``begun`` before a write, so that none goes unseen, and afterwards how it ended."""
        who = deed.principal
        detail = None if deed.detail is None or outcome != "begun" else as_jsonb(deed.detail)
        values = [
            *(who.subject, who.client_id, who.tenant_id, deed.tenant_id),
            *(deed.action, as_text(deed.target), outcome, detail, deed.request_id),
        ]
        with self._connections.platform() as connection:
            connection.execute(APPEND, values)

    def page(self, tenant_id: str | None, before: int, limit: int) -> list[AuditEntry]:
        """Entries before that id, the newest first; of one tenant, or of all."""
        with self._connections.platform() as connection:
            rows = connection.execute(READ, [tenant_id, tenant_id, before, limit]).fetchall()
        return [AuditEntry(**row) for row in rows]
