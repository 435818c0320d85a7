"""Monthly budgets of all tenants, in the platform database."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime
from typing import Any

from deeplens.database.values import as_jsonb
from deeplens.usage.budgets import EXHAUSTED_PERCENT, USAGE_BUDGET, Budget, BudgetState, BudgetWarning
from deeplens.usage.model import GAUGES, month_after, start_of
from deeplens.usage.postgres import UsageAdapter

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


class PostgresBudgets(UsageAdapter):
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
