"""Requests per tenant and minute, and counts that have not been metered."""

from datetime import datetime
from typing import Any

import psycopg

from deeplens.database.connections import PlatformAdapter, Values
from deeplens.tenants.limits import minute_of
from deeplens.usage.model import EGRESS, REQUESTS, SEARCHES, Unmetered

ASYNCHRONOUS_COMMIT = "set_config('synchronous_commit', 'off', true)"
"""No request waits for the disk: a crash of the server may lose the counts of the last fraction of a second."""
COUNT = f"""
INSERT INTO request_counters AS counter (tenant_id, minute, requests) SELECT %s, %s, 1 FROM {ASYNCHRONOUS_COMMIT}
ON CONFLICT (tenant_id, minute) DO UPDATE SET requests = counter.requests + 1
RETURNING requests
"""  # noqa: S608
ADD = f"""
INSERT INTO request_counters AS counter (tenant_id, minute, requests, searches, egress_bytes)
SELECT %(tenant)s, %(minute)s, 0, %(searches)s, %(egress_bytes)s FROM {ASYNCHRONOUS_COMMIT}
ON CONFLICT (tenant_id, minute) DO UPDATE
SET searches = counter.searches + excluded.searches, egress_bytes = counter.egress_bytes + excluded.egress_bytes
"""  # noqa: S608
SO_FAR = "SELECT coalesce(sum(requests), 0) FROM request_counters WHERE tenant_id = %s AND minute = %s"
COUNTED = "(VALUES (%(requests)s, requests), (%(searches)s, searches), (%(egress)s, egress_bytes))"
CLOSE_MINUTES = f"""
WITH ended AS (
    DELETE FROM request_counters WHERE (tenant_id, minute) IN (
        SELECT tenant_id, minute FROM request_counters WHERE minute < %(before)s
        ORDER BY minute LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    RETURNING *
), kept AS (
    INSERT INTO usage_outbox (event_id, tenant_id, occurred_at, quantities, due)
    SELECT gen_random_uuid()::text, tenant_id, max(minute), jsonb_object_agg(metric, quantity), max(minute)
    FROM (
        SELECT tenant_id, (minute AT TIME ZONE 'UTC')::date AS day, max(minute) AS minute, metric,
               sum(counted) AS quantity
        FROM ended CROSS JOIN LATERAL {COUNTED} AS c(metric, counted)
        GROUP BY 1, 2, metric HAVING sum(counted) > 0) AS totals
    WHERE EXISTS (SELECT FROM tenants t WHERE t.id = tenant_id AND t.status IN ('active', 'suspended'))
    GROUP BY tenant_id, day
)
SELECT count(*) AS minutes FROM ended
"""  # noqa: S608
UNMETERED = """
UPDATE usage_outbox o SET due = %(again)s FROM (
    SELECT u.event_id AS late_id FROM usage_outbox u
    JOIN tenants t ON t.id = u.tenant_id AND t.status IN ('active', 'suspended')
    WHERE u.due <= %(now)s ORDER BY u.due LIMIT %(limit)s FOR UPDATE OF u SKIP LOCKED) AS late
WHERE o.event_id = late.late_id
RETURNING o.event_id, o.tenant_id, o.occurred_at, o.quantities
"""
NAMES = {"requests": REQUESTS, "searches": SEARCHES, "egress": EGRESS}
NOT_YET = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn)


class PostgresRequestCounters(PlatformAdapter):
    """``RequestMinutes`` on psycopg. Before its migration nothing is counted and no request is refused."""

    def count(self, tenant_id: str, now: datetime) -> int:
        return self._number(COUNT, [tenant_id, minute_of(now)])

    def add(self, tenant_id: str, now: datetime, *, searches: int = 0, egress_bytes: int = 0) -> None:
        values = {"tenant": tenant_id, "minute": minute_of(now), "searches": searches, "egress_bytes": egress_bytes}
        self._rows(ADD + "RETURNING 0", values)

    def so_far(self, tenant_id: str, now: datetime) -> int:
        return self._number(SO_FAR, [tenant_id, minute_of(now)])

    def close_minutes(self, before: datetime, limit: int) -> int:
        return self._number(CLOSE_MINUTES, {**NAMES, "before": before, "limit": limit})

    def unmetered(self, now: datetime, again: datetime, limit: int) -> list[Unmetered]:
        rows = self._rows(UNMETERED, {"now": now, "again": again, "limit": limit})
        return sorted((Unmetered(**row) for row in rows), key=lambda one: (one.occurred_at, one.event_id))

    def _number(self, statement: str, values: Values) -> int:
        """The number that a statement returns."""
        return next((int(number) for row in self._rows(statement, values) for number in row.values()), 0)

    def _rows(self, statement: str, values: Values | None = None) -> list[dict[str, Any]]:
        try:
            return super()._rows(statement, values)
        except NOT_YET:
            return []
