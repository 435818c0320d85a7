"""The audit log on the platform database, where a trigger rejects updates and deletions."""

from deeplens.access.model import AuditEntry, AuditRecord
from deeplens.database.connections import PlatformAdapter
from deeplens.database.values import as_jsonb, as_text

APPEND = """
INSERT INTO audit_log (actor, client_id, actor_tenant_id, tenant_id, action, target, outcome, detail, request_id)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
READ = """
SELECT id, at, actor, client_id, tenant_id, action, target, outcome, detail, request_id FROM audit_log
WHERE (%s::text IS NULL OR tenant_id = %s) AND id < %s ORDER BY id DESC LIMIT %s
"""


class PostgresAudit(PlatformAdapter):
    """``AuditLog`` on psycopg."""

    def append(self, entry: AuditEntry, outcome: str) -> None:
        actor = entry.principal
        detail = None if entry.detail is None or outcome != "begun" else as_jsonb(entry.detail)
        values = [
            *(actor.subject, actor.client_id, actor.tenant_id, entry.tenant_id),
            *(entry.action, as_text(entry.target), outcome, detail, entry.request_id),
        ]
        self._execute(APPEND, values)

    def page(self, tenant_id: str | None, before: int, limit: int) -> list[AuditRecord]:
        return [AuditRecord(**row) for row in self._rows(READ, [tenant_id, tenant_id, before, limit])]
