"""Rollouts in the platform database, and vector states in tenants' databases.

Each step of a rollout is one transaction over the rollout and its tenant's row.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from deeplens.database.connections import PlatformAdapter, TenantAdapter
from deeplens.database.values import as_jsonb
from deeplens.embedding.model import ModelProfile, ModelRef
from deeplens.images.model import Step
from deeplens.rollouts.model import Rollout, VectorCounts, VectorState, VectorStep
from deeplens.tenants.model import Tenant

REGISTER = """
INSERT INTO models (name, version, dimensions, thresholds, text)
VALUES (%(name)s, %(version)s, %(dimensions)s, %(thresholds)s, %(text)s)
ON CONFLICT (name, version) DO UPDATE SET
    dimensions = excluded.dimensions, thresholds = excluded.thresholds, text = excluded.text
"""
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

RECORD = """
INSERT INTO image_models AS known (image_id, model, model_version, generation, step, error_code)
SELECT DISTINCT ON (r.image_id, r.model, r.model_version)
       r.image_id, r.model, r.model_version, r.generation, r.step, r.error_code
FROM jsonb_to_recordset(%s) AS r(
    image_id text, model text, model_version text, generation int, step smallint, error_code text)
JOIN (SELECT id FROM images WHERE id = ANY(%s) ORDER BY id FOR KEY SHARE) AS i ON i.id = r.image_id
ORDER BY r.image_id, r.model, r.model_version, r.generation DESC, r.step DESC
ON CONFLICT (image_id, model, model_version) DO UPDATE SET
    generation = excluded.generation, step = excluded.step, error_code = excluded.error_code, updated_at = now()
WHERE (known.generation, known.step) < (excluded.generation, excluded.step)
"""
COMPLETED = f"i.step = {int(Step.COMPLETED)} AND NOT EXISTS (SELECT 1 FROM deleted_images d WHERE d.image_id = i.id)"  # noqa: S608
INDEXED = f"""
SELECT x.image_id FROM image_models x JOIN images i ON i.id = x.image_id AND i.generation <= x.generation
WHERE x.image_id = ANY(%s) AND x.model = %s AND x.model_version = %s AND x.step = {int(VectorStep.INDEXED)}
"""  # noqa: S608
PLAN = f"""
WITH slice AS (
    SELECT i.id, i.generation FROM images i WHERE i.id > %(after)s AND {COMPLETED} ORDER BY i.id LIMIT %(limit)s
), added AS (
    INSERT INTO image_models (image_id, model, model_version, generation, step)
    SELECT id, %(name)s, %(version)s, generation, {int(VectorStep.WAITING)} FROM slice
    ON CONFLICT DO NOTHING
)
SELECT max(id) AS last FROM slice
"""  # noqa: S608
RELEASE = f"""
WITH again AS (
    UPDATE image_models SET updated_at = now()
    WHERE model = %(name)s AND model_version = %(version)s AND step = {int(VectorStep.REQUESTED)}
          AND updated_at < %(overdue)s
    RETURNING image_id
), room AS (
    SELECT greatest(0, %(window)s - count(*)) AS places FROM image_models
    WHERE model = %(name)s AND model_version = %(version)s AND step = {int(VectorStep.REQUESTED)}
), next AS (
    SELECT image_id FROM image_models
    WHERE model = %(name)s AND model_version = %(version)s AND step = {int(VectorStep.WAITING)}
    ORDER BY image_id LIMIT (SELECT places FROM room) FOR UPDATE SKIP LOCKED
), released AS (
    UPDATE image_models x SET step = {int(VectorStep.REQUESTED)}, updated_at = now() FROM next
    WHERE x.image_id = next.image_id AND x.model = %(name)s AND x.model_version = %(version)s
    RETURNING x.image_id
)
SELECT i.id, i.generation FROM images i
WHERE i.id IN (SELECT image_id FROM again UNION ALL SELECT image_id FROM released) ORDER BY i.id
"""  # noqa: S608
COUNTS = f"""
SELECT count(*) AS images,
       count(*) FILTER (WHERE x.step IS DISTINCT FROM {int(VectorStep.INDEXED)}) AS missing,
       count(*) FILTER (WHERE x.step = {int(VectorStep.WAITING)}) AS waiting,
       count(*) FILTER (WHERE x.step = {int(VectorStep.REQUESTED)}) AS requested,
       count(*) FILTER (WHERE x.step = {int(VectorStep.FAILED)}) AS failed
FROM images i LEFT JOIN image_models x ON x.image_id = i.id AND x.model = %s AND x.model_version = %s
WHERE {COMPLETED}
"""  # noqa: S608
SAMPLE = f"""
SELECT i.id FROM images i JOIN image_models x
    ON x.image_id = i.id AND x.model = %s AND x.model_version = %s AND x.step = {int(VectorStep.INDEXED)}
WHERE {COMPLETED} ORDER BY md5(i.id) LIMIT %s
"""  # noqa: S608
FORGET_AT_ONCE = 10_000
FORGET = """
DELETE FROM image_models WHERE ctid IN (
    SELECT ctid FROM image_models WHERE model = %s AND model_version = %s LIMIT %s)
"""


class PostgresRollouts(PlatformAdapter):
    """``Rollouts`` on psycopg."""

    def register(self, profile: ModelProfile) -> None:
        thresholds = as_jsonb(asdict(profile.thresholds)) if profile.thresholds else None
        self._execute(REGISTER, {**asdict(profile.ref), "thresholds": thresholds, "text": profile.text})

    def start(self, tenant: Tenant, target: ModelRef, rollout_id: str, now: datetime) -> Rollout | None:
        values = {"id": rollout_id, "tenant": tenant.id, "now": now, **asdict(target)}
        return next(iter(self._rollouts(START, values)), None)

    def swap(self, rollout: Rollout, now: datetime) -> bool:
        return self._move(SWAP, rollout, {"running": "cut-over", "cut-over": "running"}, now)

    def end(self, rollout: Rollout, now: datetime) -> bool:
        return self._move(END, rollout, {"running": "cancelled", "cut-over": "finished"}, now)

    def _move(self, statement: str, rollout: Rollout, changes: dict[str, str], now: datetime) -> bool:
        values = {"id": rollout.id, "state": rollout.state, "next": changes.get(rollout.state), "now": now}
        return self._execute(statement, values) == 1

    def dropped(self, rollout: Rollout, now: datetime) -> None:
        self._execute("UPDATE model_rollouts SET dropped_at = %s WHERE id = %s", [now, rollout.id])

    def find(self, tenant_id: str, rollout_id: str) -> Rollout | None:
        statement = "SELECT * FROM model_rollouts WHERE tenant_id = %s AND id = %s"
        return next(iter(self._rollouts(statement, [tenant_id, rollout_id])), None)

    def of_tenant(self, tenant_id: str) -> list[Rollout]:
        statement = "SELECT * FROM model_rollouts WHERE tenant_id = %s ORDER BY created_at DESC LIMIT 100"
        return self._rollouts(statement, [tenant_id])

    def unfinished(self, limit: int) -> list[Rollout]:
        return self._rollouts(UNFINISHED, [limit])

    def _rollouts(self, statement: str, values: Any) -> list[Rollout]:
        return [rollout_of(row) for row in self._rows(statement, values)]


def rollout_of(row: dict[str, Any]) -> Rollout:
    models: dict[str, Any] = {
        role: ModelRef(*(row.pop(f"{role}_{field}") for field in ("name", "version", "dimensions")))
        for role in ("source", "target")
    }
    return Rollout(**row, **models)


class PostgresVectorStates(TenantAdapter):
    """``VectorStates`` on psycopg: one round trip per call."""

    def record(self, tenant: Tenant, states: Sequence[VectorState]) -> None:
        if states:
            rows = [_row(state) for state in states]
            self._execute(tenant, RECORD, [as_jsonb(rows), sorted({state.image_id for state in states})])

    def indexed(self, tenant: Tenant, model: ModelRef, image_ids: Sequence[str]) -> set[str]:
        rows = self._rows(tenant, INDEXED, [list(image_ids), model.name, model.version])
        return {row["image_id"] for row in rows}

    def plan(self, tenant: Tenant, model: ModelRef, after: str, limit: int) -> str | None:
        row = self._row(tenant, PLAN, asdict(model) | {"after": after, "limit": limit})
        return row["last"] if row else None

    def release(
        self, tenant: Tenant, model: ModelRef, window: int, overdue: datetime | None = None
    ) -> list[tuple[str, int]]:
        rows = self._rows(tenant, RELEASE, asdict(model) | {"window": window, "overdue": overdue})
        return [(row["id"], row["generation"]) for row in rows]

    def counts(self, tenant: Tenant, model: ModelRef) -> VectorCounts:
        return VectorCounts(**(self._row(tenant, COUNTS, [model.name, model.version]) or {}))

    def sample(self, tenant: Tenant, model: ModelRef, count: int) -> list[str]:
        return [row["id"] for row in self._rows(tenant, SAMPLE, [model.name, model.version, count])]

    def forget(self, tenant: Tenant, model: ModelRef) -> None:
        while self._execute(tenant, FORGET, [model.name, model.version, FORGET_AT_ONCE]):
            pass


def _row(state: VectorState) -> dict[str, Any]:
    return asdict(state) | {"model": state.model.name, "model_version": state.model.version}
