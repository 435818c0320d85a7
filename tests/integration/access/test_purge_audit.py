"""The scheduled purge of the audit log."""

from datetime import timedelta

from deeplens.access.ports import AuditRetention
from deeplens.access.postgres import PostgresAudit
from deeplens.access.purge_audit import PurgeAudit
from deeplens.database.connections import Connections

OLD = """
INSERT INTO audit_log (id, at, actor, action, target, outcome, request_id) OVERRIDING SYSTEM VALUE
SELECT coalesce(min(id), 1) - 1, now() - interval '1000 years', 'someone', 'POST', 'old', 'done', 'r' FROM audit_log
"""


def test_old_entries_are_purged_and_the_purge_is_shown(connections: Connections) -> None:
    audit = PostgresAudit(connections)
    with connections.platform() as connection:
        connection.execute(OLD)
    assert PurgeAudit(audit, AuditRetention(timedelta(days=400)))() == []
    entries = audit.page(None, 2**62, 100)
    assert "old" not in [entry.target for entry in entries]
    assert (entries[0].actor, entries[0].action, entries[0].target) == ("schedule", "purge", "audit_log")
    assert entries[0].detail["entries"] == 1


def test_before_the_migration_nothing_is_purged(connections: Connections) -> None:
    with connections.platform() as connection:
        connection.execute("ALTER FUNCTION purge_audit_log RENAME TO put_away")
        try:
            assert PostgresAudit(connections).purge(timedelta(days=400), 10) == 0
        finally:
            connection.execute("ALTER FUNCTION put_away RENAME TO purge_audit_log")
