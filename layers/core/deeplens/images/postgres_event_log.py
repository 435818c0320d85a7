"""The timelines of all images of a tenant as one log."""

from datetime import datetime
from typing import Any

import psycopg

from deeplens.database.connections import Connection, TenantAdapter
from deeplens.database.rows import columns_of
from deeplens.database.values import as_text
from deeplens.errors import DatabaseUnavailable
from deeplens.images.model import LoggedEvent, LogPosition, LogQuery, Step
from deeplens.images.postgres import active_conditions
from deeplens.tenants.model import Tenant

SETTLED = """
SELECT least(clock.now, (SELECT min(xact_start) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend')) AS at
FROM (SELECT clock_timestamp() AS now) AS clock
"""
"""An entry is recorded after its transaction began, so no future entry is older than the oldest open transaction.

Read before the entries: a transaction that begins in between is later. All sessions of a tenant's database have one
role, which may see when they began; administrators write no entries.
"""
COLUMNS = columns_of(LoggedEvent)
LIVE = "NOT EXISTS (SELECT FROM deleted_images d WHERE d.image_id = image_events.image_id)"


class PostgresEventLog(TenantAdapter):
    """``EventLog`` on psycopg."""

    def settled(self, tenant: Tenant) -> LogPosition:
        with self._opened(tenant) as connection:
            return _settled(connection), 0

    def page(self, tenant: Tenant, query: LogQuery) -> list[LoggedEvent]:
        with self._opened(tenant) as connection:
            until = _settled(connection) if query.after else None
            statement, values = self.statement(query, until)
            try:
                rows = connection.execute(statement.encode(), values)
                return [LoggedEvent(**row | {"step": Step(row["step"])}) for row in rows]
            except psycopg.errors.UndefinedColumn as error:
                raise DatabaseUnavailable("this tenant's database is not migrated") from error

    @staticmethod
    def statement(query: LogQuery, until: datetime | None) -> tuple[str, list[Any]]:
        """SQL and its values; input of callers is only in the values."""
        order = "ASC" if query.after else "DESC"
        filters: list[tuple[str, Any]] = [
            ("image_id = %s", query.image_id),
            ("stage = %s", query.stage and as_text(query.stage)),
            ("step = %s", None if query.step is None else int(query.step)),
            ("error_code IS NOT NULL AND %s", query.errors or None),
            ("(recorded_at, id) > (%s, %s)", query.after),
            ("(recorded_at, id) < (%s, %s)", None if query.after else query.before),
            ("recorded_at < %s", until),
        ]
        conditions, values = active_conditions(filters)
        statement = f"""
            SELECT {COLUMNS} FROM image_events WHERE {" AND ".join([LIVE, *conditions])}
            ORDER BY recorded_at {order}, id {order} LIMIT %s"""  # noqa: S608
        return statement, [*values, query.limit]


def _settled(connection: Connection) -> datetime:
    (row,) = connection.execute(SETTLED).fetchall()
    at: datetime = row["at"]
    return at
