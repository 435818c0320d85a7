"""Usage per tenant and day; an event counts once."""

from collections.abc import Sequence
from datetime import datetime

from deeplens.db.connections import Connections
from deeplens.db.values import as_text

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
