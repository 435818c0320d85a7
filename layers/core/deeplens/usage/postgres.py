"""Usage per tenant and day; an event counts once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta

import psycopg

from deeplens.database.connections import Connection, Connections, PlatformAdapter
from deeplens.database.values import as_text
from deeplens.errors import DatabaseUnavailable
from deeplens.usage.model import GAUGES, DayTotal, UsagePosition, UsageRow, start_of
from deeplens.usage.postgres_counters import COUNTED, NAMES

RECORD = """
WITH given AS (
    SELECT DISTINCT ON (event_id, metric) *, metric = ANY(%s::text[]) AS gauge
    FROM unnest(%s::text[], %s::text[], %s::text[], %s::numeric[], %s::timestamptz[])
        AS g(event_id, tenant_id, metric, quantity, occurred_at)
), counted AS (
    INSERT INTO usage_events (event_id, occurred_at)
    SELECT DISTINCT ON (event_id) event_id, occurred_at FROM given ORDER BY event_id
    ON CONFLICT DO NOTHING RETURNING event_id
), arrived AS (
    DELETE FROM usage_outbox WHERE event_id IN (SELECT event_id FROM given)
)
INSERT INTO usage_daily AS known (tenant_id, day, metric, quantity, level_at)
SELECT tenant_id, (occurred_at AT TIME ZONE 'UTC')::date, metric,
       CASE WHEN gauge THEN (array_agg(quantity ORDER BY occurred_at DESC))[1] ELSE sum(quantity) END,
       max(occurred_at) FILTER (WHERE gauge)
FROM given JOIN counted USING (event_id) GROUP BY 1, 2, 3, gauge ORDER BY 1, 2, 3
ON CONFLICT (tenant_id, day, metric) DO UPDATE SET
    quantity = CASE WHEN excluded.level_at IS NULL THEN known.quantity + excluded.quantity
                    WHEN known.level_at > excluded.level_at THEN known.quantity ELSE excluded.quantity END,
    level_at = greatest(known.level_at, excluded.level_at)
"""
DAYS = f"""
SELECT metric, day, sum(quantity)::float8 AS quantity FROM (
    SELECT metric, day, quantity FROM usage_daily
    WHERE tenant_id = %(tenant)s AND day BETWEEN %(first)s AND %(last)s
    UNION ALL
    SELECT metric, (minute AT TIME ZONE 'UTC')::date, counted
    FROM request_counters CROSS JOIN LATERAL {COUNTED} AS c(metric, counted)
    WHERE tenant_id = %(tenant)s AND (minute AT TIME ZONE 'UTC')::date BETWEEN %(first)s AND %(last)s AND counted > 0
    UNION ALL
    SELECT key, (occurred_at AT TIME ZONE 'UTC')::date, value::numeric
    FROM usage_outbox CROSS JOIN LATERAL jsonb_each_text(quantities)
    WHERE tenant_id = %(tenant)s AND (occurred_at AT TIME ZONE 'UTC')::date BETWEEN %(first)s AND %(last)s
) AS counted GROUP BY metric, day ORDER BY metric, day
"""  # noqa: S608
OVERVIEW = """
SELECT u.tenant_id, %(last)s::date AS day, u.metric,
       CASE WHEN bool_or(u.level_at IS NOT NULL) THEN avg(u.quantity) ELSE sum(u.quantity) END::float8 AS quantity
FROM (SELECT id FROM tenants
      WHERE CASE WHEN %(tenant)s::text IS NULL THEN id > %(after)s ELSE id = %(tenant)s END
      ORDER BY id LIMIT %(limit)s) AS page
JOIN usage_daily u ON u.tenant_id = page.id AND u.day BETWEEN %(first)s AND %(last)s
GROUP BY u.tenant_id, u.metric ORDER BY u.tenant_id, u.metric
"""
ROWS = """
SELECT tenant_id, day, metric, quantity::float8 AS quantity FROM usage_daily
WHERE day BETWEEN %(first)s AND %(last)s AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
  AND (tenant_id, day, metric) > (%(after_tenant)s, %(after_day)s, %(after_metric)s)
ORDER BY tenant_id, day, metric LIMIT %(limit)s
"""
BEGIN_DAY = """
INSERT INTO usage_days (day, begun_at) SELECT %(today)s, now()
WHERE NOT EXISTS (SELECT FROM usage_days WHERE day >= %(today)s) ON CONFLICT DO NOTHING
RETURNING coalesce((SELECT max(day) FROM usage_days WHERE day < %(today)s), %(today)s - 1) AS before
"""
CARRY = """
INSERT INTO usage_daily (tenant_id, day, metric, quantity, level_at)
SELECT u.tenant_id, %(day)s, u.metric, u.quantity, %(start)s FROM usage_daily u
JOIN tenants t ON t.id = u.tenant_id AND t.status IN ('active', 'suspended')
WHERE u.day = %(day)s - 1 AND u.level_at IS NOT NULL AND u.quantity > 0 ORDER BY u.tenant_id, u.metric
ON CONFLICT DO NOTHING
"""
CHANGE_PRECISION = timedelta(minutes=10)
"""The precision of ``tenant_sweeps.changed_at``: a tenant that changed within this time is measured again."""
UNMEASURED = """
SELECT s.tenant_id FROM tenant_sweeps s JOIN tenants t ON t.id = s.tenant_id AND t.status = 'active'
WHERE (s.measured_at IS NULL OR s.measured_at < s.changed_at) AND (s.measured_at < %s) IS NOT FALSE
ORDER BY s.changed_at LIMIT %s
"""
MEASURED = "UPDATE tenant_sweeps SET measured_at = %s WHERE tenant_id = ANY(%s)"
FORGET = """
DELETE FROM usage_events WHERE event_id IN (
    SELECT event_id FROM usage_events WHERE occurred_at < %s ORDER BY occurred_at LIMIT %s)
"""
MAX_DAYS_CARRIED = 60


@contextmanager
def migrated(connections: Connections) -> Iterator[Connection]:
    """The platform database. Raises ``DatabaseUnavailable`` before the migration: events and requests are repeated."""
    with connections.platform() as connection:
        try:
            yield connection
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
            raise DatabaseUnavailable("the platform's database is not migrated") from error


class PostgresUsage(PlatformAdapter):
    """``UsageMeter`` on psycopg."""

    def record(self, entries: Sequence[tuple[str, str, str, float, datetime]]) -> None:
        if not entries:
            return
        storable = [(as_text(event), tenant, as_text(metric), float(n), at) for event, tenant, metric, n, at in entries]
        columns = [list(column) for column in zip(*storable, strict=True)]
        with migrated(self._connections) as connection:
            connection.execute(RECORD, [list(GAUGES), *columns])

    def days(self, tenant_id: str, first: date, last: date) -> list[DayTotal]:
        values = {**NAMES, "tenant": tenant_id, "first": first, "last": last}
        with migrated(self._connections) as connection:
            return [DayTotal(**row) for row in connection.execute(DAYS.encode(), values)]

    def overview(self, first: date, last: date, tenant_id: str | None, after: str, limit: int) -> list[UsageRow]:
        values = {"first": first, "last": last, "tenant": tenant_id, "after": as_text(after), "limit": limit}
        with migrated(self._connections) as connection:
            return [UsageRow(**row) for row in connection.execute(OVERVIEW, values)]

    def rows(
        self, first: date, last: date, tenant_id: str | None, after: UsagePosition | None, limit: int
    ) -> list[UsageRow]:
        tenant, day, metric = after or ("", first, "")
        position = {"after_tenant": as_text(tenant), "after_day": day, "after_metric": as_text(metric)}
        values = {"first": first, "last": last, "tenant": tenant_id, "limit": limit, **position}
        with migrated(self._connections) as connection:
            return [UsageRow(**row) for row in connection.execute(ROWS, values)]

    def carry_gauges(self, today: date) -> bool:
        with migrated(self._connections) as connection, connection.transaction():
            begun = connection.execute(BEGIN_DAY, {"today": today}).fetchone()
            missed = (today - begun["before"]).days if begun else 0
            for days_ago in reversed(range(min(missed, MAX_DAYS_CARRIED))):
                day = today - timedelta(days=days_ago)
                connection.execute(CARRY, {"day": day, "start": start_of(day)})
        return begun is not None

    def due_for_measurement(self, now: datetime, every: timedelta, limit: int) -> list[str]:
        with migrated(self._connections) as connection:
            found = connection.execute(UNMEASURED, [now - CHANGE_PRECISION - every, limit])
            return [row["tenant_id"] for row in found]

    def mark_measured(self, tenant_ids: Sequence[str], now: datetime) -> None:
        with migrated(self._connections) as connection:
            connection.execute(MEASURED, [now - CHANGE_PRECISION, list(tenant_ids)])

    def forget(self, before: datetime, limit: int) -> int:
        with migrated(self._connections) as connection:
            return connection.execute(FORGET, [before, limit]).rowcount
