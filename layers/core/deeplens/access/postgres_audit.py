"""The audit log on the platform database, where a trigger rejects updates and deletions."""

from deeplens.access.audit import AuditEntry, AuditRecord
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


class PostgresAudit:
    """``AuditLog`` on psycopg."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def append(self, entry: AuditEntry, outcome: str) -> None:
        actor = entry.principal
        detail = None if entry.detail is None or outcome != "begun" else as_jsonb(entry.detail)
        values = [
            *(actor.subject, actor.client_id, actor.tenant_id, entry.tenant_id),
            *(entry.action, as_text(entry.target), outcome, detail, entry.request_id),
        ]
        with self._connections.platform() as connection:
            connection.execute(APPEND, values)

    def page(self, tenant_id: str | None, before: int, limit: int) -> list[AuditRecord]:
        with self._connections.platform() as connection:
            rows = connection.execute(READ, [tenant_id, tenant_id, before, limit]).fetchall()
        return [AuditRecord(**row) for row in rows]
