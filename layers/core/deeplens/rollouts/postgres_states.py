"""State per image and model, in plain SQL: one round trip per call."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from deeplens.database.connections import Connections
from deeplens.database.values import as_jsonb
from deeplens.embedding.model import ModelRef
from deeplens.images.model import Step
from deeplens.rollouts.model import VectorCounts, VectorState, VectorStep
from deeplens.tenants.model import Tenant

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


class PostgresVectorStates:
    """``VectorStates`` on psycopg."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def record(self, tenant: Tenant, states: Sequence[VectorState]) -> None:
        if not states:
            return
        rows = [_row(state) for state in states]
        with self._connections.tenant(tenant) as connection:
            connection.execute(RECORD, [as_jsonb(rows), sorted({state.image_id for state in states})])

    def indexed(self, tenant: Tenant, model: ModelRef, image_ids: Sequence[str]) -> set[str]:
        with self._connections.tenant(tenant) as connection:
            rows = connection.execute(INDEXED, [list(image_ids), model.name, model.version]).fetchall()
        return {row["image_id"] for row in rows}

    def plan(self, tenant: Tenant, model: ModelRef, after: str, limit: int) -> str | None:
        values = {"name": model.name, "version": model.version, "after": after, "limit": limit}
        with self._connections.tenant(tenant) as connection:
            row = connection.execute(PLAN, values).fetchone()
        return row["last"] if row else None

    def release(
        self, tenant: Tenant, model: ModelRef, window: int, overdue: datetime | None = None
    ) -> list[tuple[str, int]]:
        values = {"name": model.name, "version": model.version, "window": window, "overdue": overdue}
        with self._connections.tenant(tenant) as connection:
            rows = connection.execute(RELEASE, values).fetchall()
        return [(row["id"], row["generation"]) for row in rows]

    def counts(self, tenant: Tenant, model: ModelRef) -> VectorCounts:
        with self._connections.tenant(tenant) as connection:
            row = connection.execute(COUNTS, [model.name, model.version]).fetchone()
        return VectorCounts(**(row or {}))

    def sample(self, tenant: Tenant, model: ModelRef, count: int) -> list[str]:
        with self._connections.tenant(tenant) as connection:
            rows = connection.execute(SAMPLE, [model.name, model.version, count]).fetchall()
        return [row["id"] for row in rows]

    def forget(self, tenant: Tenant, model: ModelRef) -> None:
        with self._connections.tenant(tenant) as connection:
            while connection.execute(FORGET, [model.name, model.version, FORGET_AT_ONCE]).rowcount:
                pass


def _row(state: VectorState) -> dict[str, Any]:
    return {
        "image_id": state.image_id,
        "model": state.model.name,
        "model_version": state.model.version,
        "generation": state.generation,
        "step": int(state.step),
        "error_code": state.error_code,
    }
