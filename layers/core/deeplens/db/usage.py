"""Usage per tenant and day, requests per minute; an event counts once."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import psycopg

from deeplens.db.connections import Connections
from deeplens.db.values import as_text
from deeplens.limits import minute_of
from deeplens.metering import DayTotal

RECORD = """
WITH given AS (
    SELECT DISTINCT ON (event_id) * FROM unnest(%s::text[], %s::text[], %s::text[], %s::numeric[], %s::timestamptz[])
        AS g(event_id, tenant_id, metric, quantity, occurred_at)
), counted AS (
    INSERT INTO usage_events (event_id, occurred_at) SELECT event_id, occurred_at FROM given
    ON CONFLICT DO NOTHING RETURNING event_id
)
INSERT INTO usage_daily (tenant_id, day, metric, quantity)
SELECT tenant_id, (occurred_at AT TIME ZONE 'UTC')::date, metric, sum(quantity)
FROM given JOIN counted USING (event_id) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
ON CONFLICT (tenant_id, day, metric) DO UPDATE SET quantity = usage_daily.quantity + excluded.quantity
"""
REQUESTS = "api.requests"
DAYS = """
SELECT metric, day, sum(quantity)::float8 AS quantity FROM (
    SELECT metric, day, quantity FROM usage_daily
    WHERE tenant_id = %(tenant)s AND day BETWEEN %(first)s AND %(last)s
    UNION ALL
    SELECT %(requests)s, (minute AT TIME ZONE 'UTC')::date, requests FROM request_counters
    WHERE tenant_id = %(tenant)s AND (minute AT TIME ZONE 'UTC')::date BETWEEN %(first)s AND %(last)s
) AS counted GROUP BY metric, day ORDER BY metric, day
"""
COUNT = """
INSERT INTO request_counters AS counter (tenant_id, minute, requests)
SELECT %s, %s, 1 FROM set_config('synchronous_commit', 'off', true)
ON CONFLICT (tenant_id, minute) DO UPDATE SET requests = counter.requests + 1
RETURNING requests
"""
"""No request waits for the disk: a server that crashes may forget the last fraction of a second's counts."""
FOLD = """
WITH ended AS (
    DELETE FROM request_counters WHERE (tenant_id, minute) IN (
        SELECT tenant_id, minute FROM request_counters WHERE minute < %(before)s
        ORDER BY minute LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    RETURNING tenant_id, minute, requests
), folded AS (
    INSERT INTO usage_daily (tenant_id, day, metric, quantity)
    SELECT tenant_id, (minute AT TIME ZONE 'UTC')::date, %(requests)s, sum(requests) FROM ended
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (tenant_id, day, metric) DO UPDATE SET quantity = usage_daily.quantity + excluded.quantity
)
SELECT count(*) AS minutes FROM ended
"""


class PostgresUsage:
    """``UsageMeter`` on psycopg."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def record(self, entries: Sequence[tuple[str, str, str, float, datetime]]) -> None:
        if not entries:
            return
        storable = [(as_text(event), tenant, as_text(metric), float(n), at) for event, tenant, metric, n, at in entries]
        columns = [list(column) for column in zip(*storable, strict=True)]
        with self._connections.platform() as connection:
            connection.execute(RECORD, columns)

    def days(self, tenant_id: str, first: date, last: date) -> list[DayTotal]:
        values = {"tenant": tenant_id, "first": first, "last": last, "requests": REQUESTS}
        with self._connections.platform() as connection:
            return [DayTotal(**row) for row in connection.execute(DAYS, values)]


SO_FAR = "SELECT coalesce(sum(requests), 0) FROM request_counters WHERE tenant_id = %s AND minute = %s"


class PostgresRequestCounters:
    """``RequestCounters`` on psycopg."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def count(self, tenant_id: str, now: datetime) -> int:
        return self._number(COUNT, [tenant_id, minute_of(now)])

    def so_far(self, tenant_id: str, now: datetime) -> int:
        return self._number(SO_FAR, [tenant_id, minute_of(now)])

    def fold(self, before: datetime, limit: int) -> int:
        values = {"before": before, "limit": limit, "requests": REQUESTS}
        return self._number(FOLD, values)

    def _number(self, statement: str, values: list[Any] | dict[str, Any]) -> int:
        """The number that a statement returns. Before the migration nothing is counted, and nobody is refused."""
        with self._connections.platform() as connection:
            try:
                (row,) = connection.execute(statement, values).fetchall()
            except psycopg.errors.UndefinedTable:
                return 0
        (number,) = row.values()
        return int(number)
