"""Rollouts in PostgreSQL: each step is one transaction over the rollout and its tenant's row."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from deeplens.database.connections import Connections
from deeplens.embedding.model import ModelProfile, ModelRef
from deeplens.embedding.postgres import REGISTER, model_row
from deeplens.rollouts.model import Rollout
from deeplens.tenants.model import Tenant

START = """
WITH started AS (
    INSERT INTO model_rollouts (id, tenant_id, state, source_name, source_version, source_dimensions,
                                target_name, target_version, target_dimensions, dual_since, created_at)
    SELECT %(id)s, t.id, 'running', t.model_name, t.model_version, t.model_dimensions,
           %(name)s, %(version)s, %(dimensions)s, %(now)s, %(now)s
    FROM tenants t WHERE t.id = %(tenant)s
    ON CONFLICT (tenant_id) WHERE ended_at IS NULL DO NOTHING
    RETURNING *
), changed AS (
    UPDATE tenants t SET target_name = s.target_name, target_version = s.target_version,
           target_dimensions = s.target_dimensions
    FROM started s WHERE t.id = s.tenant_id
)
SELECT * FROM started
"""
SWAP = """
WITH moved AS (
    UPDATE model_rollouts SET state = %(next)s, cut_over_at = CASE %(next)s WHEN 'cut-over' THEN %(now)s END
    WHERE id = %(id)s AND state = %(state)s AND ended_at IS NULL
    RETURNING tenant_id
)
UPDATE tenants t SET
    model_name = t.target_name, model_version = t.target_version, model_dimensions = t.target_dimensions,
    target_name = t.model_name, target_version = t.model_version, target_dimensions = t.model_dimensions
FROM moved WHERE t.id = moved.tenant_id
"""
END = """
WITH moved AS (
    UPDATE model_rollouts SET state = %(next)s, ended_at = %(now)s
    WHERE id = %(id)s AND state = %(state)s AND ended_at IS NULL
    RETURNING tenant_id
)
UPDATE tenants t SET target_name = NULL, target_version = NULL, target_dimensions = NULL
FROM moved WHERE t.id = moved.tenant_id
"""
UNFINISHED = """
SELECT r.* FROM model_rollouts r JOIN tenants t ON t.id = r.tenant_id AND t.status = 'active'
WHERE r.dropped_at IS NULL AND r.state <> 'cut-over' ORDER BY r.created_at LIMIT %s
"""


class PostgresRollouts:
    """``Rollouts`` on psycopg."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def register(self, profile: ModelProfile) -> None:
        with self._connections.platform() as connection:
            connection.execute(REGISTER, model_row(profile))

    def start(self, tenant: Tenant, target: ModelRef, rollout_id: str, now: datetime) -> Rollout | None:
        values = {"id": rollout_id, "tenant": tenant.id, "now": now, **asdict(target)}
        return next(iter(self._rollouts(START, values)), None)

    def swap(self, rollout: Rollout, now: datetime) -> bool:
        return self._move(SWAP, rollout, {"running": "cut-over", "cut-over": "running"}, now)

    def end(self, rollout: Rollout, now: datetime) -> bool:
        return self._move(END, rollout, {"running": "cancelled", "cut-over": "finished"}, now)

    def _move(self, statement: str, rollout: Rollout, changes: dict[str, str], now: datetime) -> bool:
        values = {"id": rollout.id, "state": rollout.state, "next": changes.get(rollout.state), "now": now}
        with self._connections.platform() as connection:
            return connection.execute(statement, values).rowcount == 1

    def dropped(self, rollout: Rollout, now: datetime) -> None:
        with self._connections.platform() as connection:
            connection.execute("UPDATE model_rollouts SET dropped_at = %s WHERE id = %s", [now, rollout.id])

    def find(self, tenant_id: str, rollout_id: str) -> Rollout | None:
        statement = "SELECT * FROM model_rollouts WHERE tenant_id = %s AND id = %s"
        return next(iter(self._rollouts(statement, [tenant_id, rollout_id])), None)

    def of_tenant(self, tenant_id: str) -> list[Rollout]:
        statement = "SELECT * FROM model_rollouts WHERE tenant_id = %s ORDER BY created_at DESC LIMIT 100"
        return self._rollouts(statement, [tenant_id])

    def unfinished(self, limit: int) -> list[Rollout]:
        return self._rollouts(UNFINISHED, [limit])

    def _rollouts(self, statement: str, values: Any) -> list[Rollout]:
        with self._connections.platform() as connection:
            return [rollout_of(row) for row in connection.execute(statement, values)]


def rollout_of(row: dict[str, Any]) -> Rollout:
    models: dict[str, Any] = {
        role: ModelRef(*(row.pop(f"{role}_{field}") for field in ("name", "version", "dimensions")))
        for role in ("source", "target")
    }
    return Rollout(**row, **models)
