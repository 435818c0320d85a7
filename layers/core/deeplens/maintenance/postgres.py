"""Runs of maintenance over all tenants, in the platform database."""

from collections.abc import Collection
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from deeplens.database.connections import PlatformAdapter
from deeplens.database.rows import columns_of, parameters_of
from deeplens.database.values import as_jsonb, as_text
from deeplens.maintenance.model import MaintenanceRun, Report

COLUMNS = columns_of(MaintenanceRun)
START = """
WITH started AS (
    INSERT INTO maintenance_runs (id, tenant_id, type, dry_run, created_at, due, cursor, slices, report)
    VALUES (%(id)s, %(tenant_id)s, %(type)s, %(dry_run)s, %(created_at)s, %(due)s, %(cursor)s, 0, %(report)s)
    ON CONFLICT DO NOTHING
    RETURNING tenant_id, type, dry_run, created_at
), swept AS (
    UPDATE tenant_sweeps s SET swept_at = started.created_at, due = s.changed_at > started.created_at - %(grace)s
    FROM started WHERE s.tenant_id = started.tenant_id AND started.type = 'sweep' AND NOT started.dry_run
)
SELECT FROM started
"""
RUNS = f"SELECT {COLUMNS} FROM maintenance_runs"  # noqa: S608
MOVE = """
UPDATE maintenance_runs SET cursor = %(cursor)s, slices = %(slices)s, report = %(report)s, due = %(due)s,
       ended_at = %(ended_at)s, error = %(error)s
WHERE id = %(id)s AND cursor = %(before)s AND slices = %(slices)s - 1 AND ended_at IS NULL
"""
OVERDUE = f"""
UPDATE maintenance_runs r SET due = %s FROM (
    SELECT m.id AS late_id FROM maintenance_runs m JOIN tenants t ON t.id = m.tenant_id AND t.status = 'active'
    WHERE m.ended_at IS NULL AND m.due <= %s ORDER BY m.due LIMIT %s FOR UPDATE OF m SKIP LOCKED) AS late
WHERE r.id = late.late_id
RETURNING {COLUMNS}
"""  # noqa: S608
WAKE = f"""
UPDATE maintenance_runs SET due = %s
WHERE tenant_id = ANY(%s) AND type = 'store-scan' AND ended_at IS NULL AND due <= %s AND (
    SELECT count(*) FROM pending_images p WHERE p.tenant_id = maintenance_runs.tenant_id) < %s
RETURNING {COLUMNS}
"""  # noqa: S608
SWEEPS_DUE = """
SELECT s.tenant_id FROM tenant_sweeps s JOIN tenants t ON t.id = s.tenant_id AND t.status = 'active'
WHERE s.due AND s.swept_at < %s AND NOT EXISTS (
    SELECT FROM maintenance_runs r WHERE r.tenant_id = s.tenant_id AND r.type = 'sweep' AND r.ended_at IS NULL)
ORDER BY s.swept_at LIMIT %s
"""
FORGET = """
DELETE FROM maintenance_runs WHERE id IN (
    SELECT id FROM maintenance_runs WHERE created_at < %s AND ended_at < %s ORDER BY created_at LIMIT %s)
"""
CHANGED = """
INSERT INTO tenant_sweeps AS known (tenant_id, changed_at, swept_at, due)
SELECT changed.tenant_id, %(now)s, %(now)s, true FROM unnest(%(tenants)s::text[]) AS changed(tenant_id)
WHERE NOT EXISTS (
    SELECT FROM tenant_sweeps s
    WHERE s.tenant_id = changed.tenant_id AND s.due AND s.changed_at > %(now)s - interval '10 minutes')
ON CONFLICT (tenant_id) DO UPDATE SET changed_at = greatest(known.changed_at, excluded.changed_at), due = true
"""


class PostgresMaintenanceRuns(PlatformAdapter):
    """``MaintenanceRuns`` on psycopg."""

    def start(self, run: MaintenanceRun, grace: timedelta) -> bool:
        return self._execute(START, {**_values(run), "grace": grace}) == 1

    def find(self, run_id: str) -> MaintenanceRun | None:
        return next(iter(self._runs(f"{RUNS} WHERE id = %s", [as_text(run_id)])), None)

    def of_tenant(self, tenant_id: str | None, limit: int) -> list[MaintenanceRun]:
        where, values = ("", [limit]) if tenant_id is None else ("WHERE tenant_id = %s", [tenant_id, limit])
        return self._runs(f"{RUNS} {where} ORDER BY created_at DESC LIMIT %s", values)

    def move(self, run: MaintenanceRun, before: str) -> bool:
        return self._execute(MOVE, {**_values(run), "before": before}) == 1

    def overdue(self, now: datetime, due: datetime, limit: int) -> list[MaintenanceRun]:
        return self._runs(OVERDUE, [due, now, limit])

    def wake(self, tenant_ids: Collection[str], pending: int, rest: datetime, due: datetime) -> list[MaintenanceRun]:
        return self._runs(WAKE, [due, list(tenant_ids), rest, pending])

    def sweeps_due(self, now: datetime, every: timedelta, limit: int) -> list[str]:
        return [row["tenant_id"] for row in self._rows(SWEEPS_DUE, [now - every, limit])]

    def forget(self, before: datetime, limit: int) -> int:
        return self._execute(FORGET, [before, before, limit])

    def changed(self, tenant_ids: Collection[str], now: datetime) -> None:
        self._execute(CHANGED, {"tenants": sorted(set(tenant_ids)), "now": now})

    def _runs(self, statement: str, values: list[Any]) -> list[MaintenanceRun]:
        return [_run(row) for row in self._rows(statement, values)]


def _values(run: MaintenanceRun) -> dict[str, Any]:
    return parameters_of(run) | {"report": as_jsonb(asdict(run.report))}


def _run(row: dict[str, Any]) -> MaintenanceRun:
    report = row["report"]
    return MaintenanceRun(**row | {"report": Report(**report | {"examples": tuple(report["examples"])})})
