"""Usage per tenant and day, where each event counts once, requests per tenant and minute, and monthly budgets."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from operator import attrgetter
from typing import Any

from deeplens.database.connections import PlatformAdapter, Values
from deeplens.database.values import as_jsonb, as_text
from deeplens.tenants.limits import minute_of
from deeplens.usage.model import (
    EGRESS,
    EXHAUSTED_PERCENT,
    GAUGES,
    REQUESTS,
    SEARCHES,
    USAGE_BUDGET,
    Budget,
    BudgetState,
    BudgetWarning,
    Unmetered,
    UsagePosition,
    UsageRow,
    month_after,
    start_of,
)

NAMES = {"requests": REQUESTS, "searches": SEARCHES, "egress": EGRESS}
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
SELECT %(tenant)s::text AS tenant_id, metric, day, sum(quantity)::float8 AS quantity FROM (
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


class PostgresUsage(PlatformAdapter):
    """``UsageMeter`` on psycopg."""

    def record(self, entries: Sequence[tuple[str, str, str, float, datetime]]) -> None:
        if not entries:
            return
        storable = [(as_text(event), tenant, as_text(metric), float(n), at) for event, tenant, metric, n, at in entries]
        self._execute(RECORD, [list(GAUGES), *map(list, zip(*storable, strict=True))])

    def days(self, tenant_id: str, first: date, last: date) -> list[UsageRow]:
        return self._usage(DAYS, **NAMES, tenant=tenant_id, first=first, last=last)

    def overview(self, first: date, last: date, tenant_id: str | None, after: str, limit: int) -> list[UsageRow]:
        return self._usage(OVERVIEW, first=first, last=last, tenant=tenant_id, after=as_text(after), limit=limit)

    def rows(
        self, first: date, last: date, tenant_id: str | None, after: UsagePosition | None, limit: int
    ) -> list[UsageRow]:
        tenant, day, metric = after or ("", first, "")
        position = {"after_tenant": as_text(tenant), "after_day": day, "after_metric": as_text(metric)}
        return self._usage(ROWS, first=first, last=last, tenant=tenant_id, limit=limit, **position)

    def carry_gauges(self, today: date) -> bool:
        with self._platform() as connection, connection.transaction():
            begun = connection.execute(BEGIN_DAY, {"today": today}).fetchone()
            missed = (today - begun["before"]).days if begun else 0
            for days_ago in reversed(range(min(missed, MAX_DAYS_CARRIED))):
                day = today - timedelta(days=days_ago)
                connection.execute(CARRY, {"day": day, "start": start_of(day)})
        return begun is not None

    def due_for_measurement(self, now: datetime, every: timedelta, limit: int) -> list[str]:
        return [row["tenant_id"] for row in self._rows(UNMEASURED, [now - CHANGE_PRECISION - every, limit])]

    def mark_measured(self, tenant_ids: Sequence[str], now: datetime) -> None:
        self._execute(MEASURED, [now - CHANGE_PRECISION, list(tenant_ids)])

    def forget(self, before: datetime, limit: int) -> int:
        return self._execute(FORGET, [before, limit])

    def _usage(self, statement: str, **values: Any) -> list[UsageRow]:
        return [UsageRow(**row) for row in self._rows(statement, values)]


class PostgresRequestCounters(PlatformAdapter):
    """``RequestMinutes`` on psycopg."""

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
        return sorted((Unmetered(**row) for row in rows), key=attrgetter("occurred_at", "event_id"))

    def _number(self, statement: str, values: Values) -> int:
        """The number that a statement returns."""
        return next((int(number) for row in self._rows(statement, values) for number in row.values()), 0)


USED = """
SELECT b.tenant_id, b.metric, b.monthly_limit, b.warn_percent, b.action, coalesce(d.used, 0) AS used
FROM usage_budgets b JOIN tenants t ON t.id = b.tenant_id AND t.status IN ('active', 'suspended')
CROSS JOIN LATERAL (
    SELECT CASE WHEN b.metric = ANY(%(gauges)s::text[]) THEN (array_agg(u.quantity ORDER BY u.day DESC))[1]
                ELSE sum(u.quantity) END AS used
    FROM usage_daily u WHERE u.tenant_id = b.tenant_id AND u.metric = b.metric
      AND u.day >= %(month)s AND u.day < %(next_month)s) AS d
WHERE (%(tenant)s::text IS NULL OR b.tenant_id = %(tenant)s)
"""
EVALUATE = f"""
WITH used AS ({USED}), noted AS (
    INSERT INTO usage_budget_warnings (tenant_id, metric, month, percent, reached_at, used, monthly_limit, action)
    SELECT u.tenant_id, u.metric, %(month)s, reached.percent, %(now)s, u.used, u.monthly_limit, u.action
    FROM used u CROSS JOIN LATERAL unnest(u.warn_percent || %(exhausted)s::int) AS reached(percent)
    WHERE u.used >= u.monthly_limit * reached.percent / 100 ORDER BY 1, 2, 4
    ON CONFLICT DO NOTHING
), paused AS (
    SELECT DISTINCT ON (tenant_id) tenant_id, jsonb_build_object('metric', metric, 'until', %(until)s::text) AS pause
    FROM used WHERE action = 'pause' AND used >= monthly_limit ORDER BY tenant_id, metric
)
UPDATE tenants t SET ingestion_paused = wanted.pause FROM (
    SELECT o.id, p.pause FROM tenants o LEFT JOIN paused p ON p.tenant_id = o.id
    WHERE (%(tenant)s::text IS NULL OR o.id = %(tenant)s)
      AND o.ingestion_paused IS DISTINCT FROM p.pause) AS wanted
WHERE t.id = wanted.id
"""  # noqa: S608
KEEP = "DELETE FROM usage_budgets WHERE tenant_id = %s AND metric <> ALL(%s)"
SAVE = """
INSERT INTO usage_budgets (tenant_id, metric, monthly_limit, warn_percent, action)
SELECT %(tenant)s, g.* FROM jsonb_to_recordset(%(given)s)
    AS g(metric text, monthly_limit numeric, warn_percent int[], action text)
ON CONFLICT (tenant_id, metric) DO UPDATE SET
    monthly_limit = excluded.monthly_limit, warn_percent = excluded.warn_percent, action = excluded.action
"""
RESET_CHANGED = """
DELETE FROM usage_budget_warnings w WHERE w.tenant_id = %s AND w.month >= %s AND NOT EXISTS (
    SELECT FROM usage_budgets b WHERE (b.tenant_id, b.metric, b.monthly_limit, b.action)
        = (w.tenant_id, w.metric, w.monthly_limit, w.action))
"""
UNNOTIFIED = """
SELECT w.tenant_id, w.metric, w.month, w.percent, w.reached_at, w.used::float8 AS used,
       w.monthly_limit::float8 AS "limit", w.action
FROM usage_budget_warnings w JOIN tenants t ON t.id = w.tenant_id AND %s = ANY(t.notified)
WHERE w.told_at IS NULL AND w.month = %s ORDER BY w.reached_at, w.tenant_id, w.metric, w.percent LIMIT %s
"""
MARK_NOTIFIED = """
UPDATE usage_budget_warnings w SET told_at = %s
FROM unnest(%s::text[], %s::text[], %s::date[], %s::int[]) AS g(tenant_id, metric, month, percent)
WHERE (w.tenant_id, w.metric, w.month, w.percent) = (g.tenant_id, g.metric, g.month, g.percent)
"""


class PostgresBudgets(PlatformAdapter):
    """``Budgets`` on psycopg."""

    def of_tenant(self, tenant_id: str, month: date) -> list[BudgetState]:
        return [_state(row, month) for row in self._rows(USED + "ORDER BY b.metric", _values(month, tenant_id))]

    def save(self, tenant_id: str, budgets: Sequence[Budget], month: date) -> None:
        rows = [{**asdict(budget), "monthly_limit": budget.limit} for budget in budgets]
        with self._platform() as connection, connection.transaction():
            connection.execute(KEEP, [tenant_id, [budget.metric for budget in budgets]])
            connection.execute(SAVE, {"tenant": tenant_id, "given": as_jsonb(rows)})
            connection.execute(RESET_CHANGED, [tenant_id, month])

    def evaluate(self, now: datetime, month: date, tenant_id: str | None = None) -> None:
        until = start_of(month_after(month)).isoformat()
        values = {**_values(month, tenant_id), "now": now, "until": until, "exhausted": EXHAUSTED_PERCENT}
        self._execute(EVALUATE, values)

    def unnotified(self, month: date, limit: int) -> list[BudgetWarning]:
        return [BudgetWarning(**row) for row in self._rows(UNNOTIFIED, [USAGE_BUDGET, month, limit])]

    def mark_notified(self, warnings: Sequence[BudgetWarning], now: datetime) -> None:
        keys = [(warning.tenant_id, warning.metric, warning.month, warning.percent) for warning in warnings]
        if keys:
            self._execute(MARK_NOTIFIED, [now, *map(list, zip(*keys, strict=True))])


def _values(month: date, tenant_id: str | None) -> dict[str, Any]:
    return {"month": month, "next_month": month_after(month), "tenant": tenant_id, "gauges": list(GAUGES)}


def _state(row: dict[str, Any], month: date) -> BudgetState:
    budget = Budget(row["metric"], float(row["monthly_limit"]), tuple(row["warn_percent"]), row["action"])
    return BudgetState(budget, month, float(row["used"]))
