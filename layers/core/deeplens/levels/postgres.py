"""Reads the levels from the platform database."""

from datetime import date, datetime

from deeplens.database.connections import PlatformAdapter
from deeplens.database.rows import record_of
from deeplens.levels.measure import DatabaseLoad, PendingLevel, Queue, TenantLevel

PENDING = """
SELECT tenant_id, count(*) FILTER (WHERE released) AS in_flight, count(*) FILTER (WHERE NOT released) AS waiting,
       min(accepted_at) AS oldest
FROM pending_images GROUP BY tenant_id
"""
OPEN_DEAD_LETTERS = """
SELECT coalesce(tenant_id, '') AS tenant_id, count(*)::float8 AS quantity, '' AS metric
FROM dead_letters WHERE state = 'open' GROUP BY 1
"""
DUE_WEBHOOKS = """
SELECT count(*) AS waiting, min(next_at) AS oldest FROM webhook_deliveries WHERE state = 'waiting' AND next_at <= %s
"""
USAGE = """
SELECT today.tenant_id, today.quantity::float8 AS quantity, today.metric FROM tenants t CROSS JOIN LATERAL (
    SELECT tenant_id, quantity, metric FROM usage_daily u WHERE u.tenant_id = t.id AND u.day = %s) AS today
"""
CONNECTIONS = """
SELECT coalesce(sum(numbackends) FILTER (WHERE datname = current_database()), 0)::int AS platform,
       coalesce(sum(numbackends) FILTER (WHERE datname <> current_database()), 0)::int AS tenants,
       current_setting('max_connections')::int AS limit
FROM pg_stat_database
"""


class PostgresLevels(PlatformAdapter):
    """``Levels`` on psycopg."""

    def pending(self) -> list[PendingLevel]:
        return [record_of(PendingLevel, row) for row in self._rows(PENDING)]

    def open_dead_letters(self) -> list[TenantLevel]:
        return [record_of(TenantLevel, row) for row in self._rows(OPEN_DEAD_LETTERS)]

    def due_webhooks(self, now: datetime) -> Queue:
        (row,) = self._rows(DUE_WEBHOOKS, [now])
        return record_of(Queue, row)

    def usage(self, day: date) -> list[TenantLevel]:
        return [record_of(TenantLevel, row) for row in self._rows(USAGE, [day])]

    def connections(self) -> DatabaseLoad:
        (row,) = self._rows(CONNECTIONS)
        return record_of(DatabaseLoad, row)
