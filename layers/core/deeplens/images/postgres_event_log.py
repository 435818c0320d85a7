"""Timelines of all images of a tenant as one log, read by index from either end."""

from datetime import datetime
from typing import Any

import psycopg

from deeplens.database.connections import Connection, Connections
from deeplens.database.values import as_text
from deeplens.errors import DatabaseUnavailable
from deeplens.images.event_log import LoggedEvent, LogPosition, LogQuery
from deeplens.images.model import Step, TimelineEntry
from deeplens.tenants.model import Tenant

SETTLED = """
SELECT least(clock.now, (SELECT min(xact_start) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend')) AS at
FROM (SELECT clock_timestamp() AS now) AS clock
"""
"""A line is recorded after its transaction began, so none that is still to come is from before the oldest that runs.

Asked before the lines are read: what begins in between is later. Sessions of a tenant's database are all of its one
role, which may see when its own began; administrators write no lines.
"""
COLUMNS = "id, image_id, recorded_at, stage, step, generation, occurred_at, duration_seconds, error_code, error_message"
LIVE = "NOT EXISTS (SELECT FROM deleted_images d WHERE d.image_id = image_events.image_id)"
ENTRY = ("stage", "generation", "occurred_at", "duration_seconds", "error_code", "error_message")


class PostgresEventLog:
    """``EventLog`` on psycopg."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def settled(self, tenant: Tenant) -> LogPosition:
        with self._connections.tenant(tenant) as connection:
            return _settled(connection), 0

    def page(self, tenant: Tenant, query: LogQuery) -> list[LoggedEvent]:
        with self._connections.tenant(tenant) as connection:
            until = _settled(connection) if query.after else None
            statement, values = self.statement(query, until)
            try:
                return [_event(row) for row in connection.execute(statement.encode(), values)]
            except psycopg.errors.UndefinedColumn as error:
                raise DatabaseUnavailable("this tenant's database is not migrated") from error

    @staticmethod
    def statement(query: LogQuery, until: datetime | None) -> tuple[str, list[Any]]:
        """SQL and its values; what a caller chose stands only in the values."""
        order = "ASC" if query.after else "DESC"
        given: list[tuple[str, Any]] = [
            ("image_id = %s", query.image_id),
            ("stage = %s", query.stage and as_text(query.stage)),
            ("step = %s", None if query.step is None else int(query.step)),
            ("error_code IS NOT NULL AND %s", query.errors or None),
            ("(recorded_at, id) > (%s, %s)", query.after),
            ("(recorded_at, id) < (%s, %s)", None if query.after else query.before),
            ("recorded_at < %s", until),
        ]
        chosen = [(part, value) for part, value in given if value is not None]
        conditions = " AND ".join([LIVE, *(part for part, _ in chosen)])
        values = [one for _, value in chosen for one in (value if isinstance(value, tuple) else (value,))]
        statement = f"""
            SELECT {COLUMNS} FROM image_events WHERE {conditions}
            ORDER BY recorded_at {order}, id {order} LIMIT %s"""  # noqa: S608
        return statement, [*values, query.limit]


def _settled(connection: Connection) -> datetime:
    (row,) = connection.execute(SETTLED).fetchall()
    at: datetime = row["at"]
    return at


def _event(row: dict[str, Any]) -> LoggedEvent:
    entry = TimelineEntry(step=Step(row["step"]), **{name: row[name] for name in ENTRY})
    return LoggedEvent(row["id"], row["image_id"], row["recorded_at"], entry)
