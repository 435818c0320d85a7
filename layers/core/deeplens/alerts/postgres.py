"""Alerts of all tenants, in the platform database; triggers record them."""

from collections.abc import Sequence
from datetime import datetime

import psycopg

from deeplens.alerts.model import Alert
from deeplens.database.connections import Connections

CLAIM = """
UPDATE operator_alerts a SET due = %(until)s FROM (
    SELECT id FROM operator_alerts WHERE told_at IS NULL AND due <= %(now)s
    ORDER BY due LIMIT %(limit)s FOR UPDATE SKIP LOCKED) AS untold
WHERE a.id = untold.id
RETURNING a.id, a.kind, a.code, a.stage, a.tenant_id, a.raised_at
"""
FORGET = """
DELETE FROM operator_alerts WHERE id IN (
    SELECT id FROM operator_alerts WHERE raised_at < %s ORDER BY raised_at LIMIT %s)
"""


class PostgresAlerts:
    """``Alerts`` on psycopg."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Alert]:
        with self._connections.platform() as connection:
            try:
                rows = connection.execute(CLAIM, {"now": now, "until": until, "limit": limit}).fetchall()
            except psycopg.errors.UndefinedTable:
                # Before the migration nothing is recorded.
                return []
        return sorted((Alert(**row) for row in rows), key=lambda alert: (alert.raised_at, alert.id))

    def told(self, ids: Sequence[str], now: datetime) -> None:
        with self._connections.platform() as connection:
            connection.execute("UPDATE operator_alerts SET told_at = %s WHERE id = ANY(%s)", [now, list(ids)])

    def forget(self, before: datetime, limit: int) -> int:
        with self._connections.platform() as connection:
            try:
                return connection.execute(FORGET, [before, limit]).rowcount
            except psycopg.errors.UndefinedTable:
                return 0
