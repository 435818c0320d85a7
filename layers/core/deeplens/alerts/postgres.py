"""Alerts of all tenants, in the platform database; triggers record them."""

from collections.abc import Sequence
from datetime import datetime

from deeplens.alerts.model import Alert
from deeplens.database.connections import PlatformAdapter

CLAIM = """
UPDATE operator_alerts a SET due = %(until)s FROM (
    SELECT id FROM operator_alerts WHERE told_at IS NULL AND due <= %(now)s
    ORDER BY due LIMIT %(limit)s FOR UPDATE SKIP LOCKED) AS due
WHERE a.id = due.id
RETURNING a.id, a.kind, a.code, a.stage, a.tenant_id, a.raised_at
"""
FORGET = """
DELETE FROM operator_alerts WHERE id IN (
    SELECT id FROM operator_alerts WHERE raised_at < %s ORDER BY raised_at LIMIT %s)
"""


class PostgresAlerts(PlatformAdapter):
    """``Alerts`` on psycopg."""

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Alert]:
        rows = self._rows(CLAIM, {"now": now, "until": until, "limit": limit})
        return sorted((Alert(**row) for row in rows), key=lambda alert: (alert.raised_at, alert.id))

    def mark_notified(self, ids: Sequence[str], now: datetime) -> None:
        self._execute("UPDATE operator_alerts SET told_at = %s WHERE id = ANY(%s)", [now, list(ids)])

    def forget(self, before: datetime, limit: int) -> int:
        return self._execute(FORGET, [before, limit])
