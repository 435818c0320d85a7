"""Images and timelines of a tenant's database, in plain SQL: one round trip per call, whatever the batch's size."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import psycopg

from deeplens.database.connections import Connection, TenantAdapter
from deeplens.database.rows import columns_of, parameters_of
from deeplens.database.rows import record_of as read_record
from deeplens.database.values import as_jsonb, as_text
from deeplens.errors import QuotaExceeded
from deeplens.images.model import (
    ImageRecord,
    LoggedEvent,
    LogPosition,
    LogQuery,
    MediaQuery,
    NewImage,
    NewMedia,
    StageResult,
    Step,
    TimelineEntry,
    Tombstone,
)
from deeplens.tenants.limits import UNLIMITED, ResourceLimits, Storage
from deeplens.tenants.model import Tenant

COLUMNS = columns_of(ImageRecord)
LIVE = "NOT EXISTS (SELECT 1 FROM deleted_images d WHERE d.image_id = images.id)"
STATUSES = {step.name.lower(): int(step) for step in Step}

WITHIN = """EXISTS (
        SELECT FROM storage_totals
        WHERE (images < %(max_images)s) IS NOT FALSE AND (bytes + %(size_bytes)s <= %(max_bytes)s) IS NOT FALSE)"""
"""A null limit is unlimited. Mirrors ``deeplens.tenants.limits.allowance``."""

INSERT = f"""
WITH added AS (
    INSERT INTO images (id, file_name, storage_path, mime_type, size_bytes, sha256, uploaded_at, tags, metadata)
    SELECT %(id)s, %(file_name)s, %(storage_path)s, %(mime_type)s, %(size_bytes)s, %(sha256)s, %(uploaded_at)s,
           %(tags)s::text[], %(metadata)s
    WHERE NOT EXISTS (SELECT 1 FROM deleted_images WHERE image_id = %(id)s) AND {WITHIN}
    ON CONFLICT (id) DO NOTHING
    RETURNING id, generation, step, uploaded_at
)
INSERT INTO image_events (image_id, generation, step, stage, occurred_at)
SELECT id, generation, step, 'accept', uploaded_at FROM added
"""  # noqa: S608
LOCK_TOTALS = "SELECT FROM storage_totals FOR NO KEY UPDATE"
TOTALS = "SELECT images, bytes FROM storage_totals"

WITH_TOMBSTONE = f"d.deleted_at, d.receipt, d.merged_into, {columns_of(ImageRecord, 'i.')}"
FIND = f"""
SELECT requested.image_id AS requested_id, {WITH_TOMBSTONE}
FROM unnest(%s::text[]) AS requested(image_id)
LEFT JOIN images i ON i.id = requested.image_id
LEFT JOIN deleted_images d ON d.image_id = requested.image_id
"""  # noqa: S608

AFTER = f"""
SELECT i.id AS requested_id, {WITH_TOMBSTONE}
FROM images i LEFT JOIN deleted_images d ON d.image_id = i.id WHERE i.id > %s ORDER BY i.id LIMIT %s
"""  # noqa: S608

WITH_DIGESTS = f"""
SELECT DISTINCT ON (sha256) {COLUMNS} FROM images WHERE sha256 = ANY(%s) AND {LIVE}
ORDER BY sha256, step = {int(Step.FAILED)}, id
"""  # noqa: S608

ADVANCE = """
WITH result AS (
    SELECT DISTINCT ON (image_id, generation, step, stage) *
    FROM jsonb_to_recordset(%s) AS r(
        image_id text, generation int, step smallint, stage text, occurred_at timestamptz, duration_seconds float8,
        width int, height int, format text, mime_type text, completed_at timestamptz, processing_seconds float8,
        sha256 text,
        model text, model_version text, error_code text, error_message text, error_retryable bool, attempt int)
    WHERE NOT EXISTS (SELECT 1 FROM deleted_images d WHERE d.image_id = r.image_id)
), present AS (  -- locked in the order of their ids, so that two batches never wait for each other
    SELECT id, generation FROM images WHERE id IN (SELECT image_id FROM result) ORDER BY id FOR NO KEY UPDATE
), newest AS (
    SELECT DISTINCT ON (image_id) * FROM result JOIN (SELECT id FROM present) AS p ON p.id = image_id
    ORDER BY image_id, result.generation DESC, step DESC
), moved AS (
    UPDATE images i SET
        generation = r.generation, step = r.step, updated_at = now(),
        width = coalesce(r.width, i.width), height = coalesce(r.height, i.height),
        format = coalesce(r.format, i.format), mime_type = coalesce(r.mime_type, i.mime_type),
        sha256 = coalesce(r.sha256, i.sha256), completed_at = coalesce(r.completed_at, i.completed_at),
        processing_seconds = coalesce(r.processing_seconds, i.processing_seconds),
        model = coalesce(r.model, i.model), model_version = coalesce(r.model_version, i.model_version),
        error_code = r.error_code, error_message = r.error_message, error_retryable = r.error_retryable,
        attempt = r.attempt
    FROM newest r
    WHERE i.id = r.image_id AND (i.generation, i.step) < (r.generation, r.step)
)
INSERT INTO image_events
    (image_id, generation, step, stage, occurred_at, duration_seconds, error_code, error_message)
SELECT r.image_id, r.generation, r.step, r.stage, r.occurred_at, r.duration_seconds, r.error_code, r.error_message
FROM result r JOIN present p ON p.id = r.image_id AND p.generation <= r.generation
ON CONFLICT DO NOTHING
"""
START = "UPDATE images SET starts = starts + 1 WHERE id = %s RETURNING starts"
STOP = "UPDATE images SET starts = 0 WHERE id = %s"
CHANGES = frozenset(
    ("width", "height", "format", "mime_type", "sha256", "completed_at", "processing_seconds", "model", "model_version")
)


class PostgresImages(TenantAdapter):
    """``ImageRepository`` on psycopg."""

    def insert(self, tenant: Tenant, image: NewImage, limits: ResourceLimits = UNLIMITED) -> ImageRecord | Tombstone:
        with self._opened(tenant) as connection:
            return insert_within(connection, limits, INSERT, values_of(image), (FIND, [[image.id]]), record_of)

    def totals(self, tenant: Tenant) -> Storage:
        return Storage(**self._rows(tenant, TOTALS)[0])

    def find(self, tenant: Tenant, image_ids: Sequence[str]) -> dict[str, ImageRecord | Tombstone]:
        rows = self._rows(tenant, FIND, [list(set(image_ids))]) if image_ids else []
        return {row["requested_id"]: found for row in rows if (found := found_in(row, record_of)) is not None}

    def advance(self, tenant: Tenant, results: Sequence[StageResult]) -> None:
        if results:
            self._execute(tenant, ADVANCE, [as_jsonb([_result_row(result) for result in results])])

    def start(self, tenant: Tenant, image_id: str) -> int:
        with suppress(psycopg.errors.UndefinedColumn):  # before revision 0008
            row = self._row(tenant, START, [image_id])
            return int(row["starts"]) if row else 0
        return 0

    def stop(self, tenant: Tenant, image_id: str) -> None:
        with suppress(psycopg.errors.UndefinedColumn):  # before revision 0008
            self._execute(tenant, STOP, [image_id])

    def page(self, tenant: Tenant, query: MediaQuery) -> list[ImageRecord]:
        return [record_of(row) for row in self._rows(tenant, *self.page_statement(query))]

    def after(self, tenant: Tenant, image_id: str, limit: int) -> list[ImageRecord | Tombstone]:
        rows = self._rows(tenant, AFTER, [image_id, limit])
        return [found for row in rows if (found := found_in(row, record_of)) is not None]

    def with_digests(self, tenant: Tenant, sha256s: Sequence[str]) -> dict[str, ImageRecord]:
        rows = self._rows(tenant, WITH_DIGESTS, [list(sha256s)])
        return {row["sha256"]: record_of(row) for row in rows}

    @staticmethod
    def page_statement(query: MediaQuery) -> tuple[str, list[Any]]:
        """SQL and its values; input of callers is only in the values."""
        where, values = conditions_of(query, STATUSES)
        conditions = " AND ".join([LIVE, "video_id IS NULL", *where])
        statement = f"SELECT {COLUMNS} FROM images WHERE {conditions} ORDER BY uploaded_at DESC, id DESC LIMIT %s"  # noqa: S608
        return statement, [*values, query.limit]

    def timeline(self, tenant: Tenant, image_id: str) -> list[TimelineEntry]:
        statement = (
            f"SELECT {columns_of(TimelineEntry)} FROM image_events WHERE image_id = %s "  # noqa: S608
            "ORDER BY generation, occurred_at, id"
        )
        rows = self._rows(tenant, statement, [image_id])
        return [TimelineEntry(**row | {"step": Step(row["step"])}) for row in rows]

    def amend(
        self, tenant: Tenant, image_id: str, *, tags: Sequence[str] | None, metadata: dict[str, Any] | None
    ) -> ImageRecord | None:
        statement = f"""
            UPDATE images SET tags = coalesce(%s::text[], tags), metadata = coalesce(%s, metadata),
                   revision = revision + 1, updated_at = now()
            WHERE id = %s AND {LIVE} RETURNING {COLUMNS}"""  # noqa: S608
        values = [
            None if tags is None else [as_text(tag) for tag in tags],
            None if metadata is None else as_jsonb(metadata),
            image_id,
        ]
        row = self._row(tenant, statement, values)
        return record_of(row) if row else None

    def mark_deleted(self, tenant: Tenant, image_id: str, at: datetime) -> bool:
        statement = """
            WITH tombstone AS (
                INSERT INTO deleted_images (image_id, deleted_at) SELECT id, %(at)s FROM images WHERE id = %(id)s
                ON CONFLICT DO NOTHING
            )
            SELECT 1 FROM images WHERE id = %(id)s UNION ALL SELECT 1 FROM deleted_images WHERE image_id = %(id)s"""
        return self._row(tenant, statement, {"id": image_id, "at": at}) is not None

    def delete_rows(self, tenant: Tenant, receipts: dict[str, dict[str, Any]]) -> None:
        if not receipts:
            return
        statement = """
            WITH receipt AS (SELECT key AS image_id, value AS receipt FROM jsonb_each(%s)),
            kept AS (
                UPDATE deleted_images d SET receipt = r.receipt FROM receipt r WHERE d.image_id = r.image_id
                RETURNING d.image_id
            )
            DELETE FROM images USING kept WHERE images.id = kept.image_id"""
        self._execute(tenant, statement, [as_jsonb(receipts)])

    def purge_tombstones(self, tenant: Tenant, now: datetime, keep: timedelta = timedelta(days=37)) -> int:
        statement = "DELETE FROM deleted_images d WHERE deleted_at < %s AND receipt IS NOT NULL AND merged_into IS NULL"
        return self._execute(tenant, statement, [now - keep])


def values_of(media: NewMedia) -> dict[str, Any]:
    """The values of a new row by the names of their columns."""
    return parameters_of(media) | {"metadata": as_jsonb(media.metadata)}


def insert_within[R](
    connection: Connection,
    limits: ResourceLimits,
    insert: str,
    values: dict[str, Any],
    find: tuple[str, list[Any]],
    read: Callable[[dict[str, Any]], R],
) -> R | Tombstone:
    """Insert a row if it fits into the limits, and return what has its id then. Raises ``QuotaExceeded``.

    Parameters
    ----------
    insert : checks the limits with ``WITHIN``.
    find : the statement, with its values, that finds the row or the tombstone of this id; ``read`` reads the row.
    """
    with connection.pipeline():
        # One transaction, but the INSERT's snapshot is taken after the lock: it sees every image that counts.
        connection.execute(LOCK_TOTALS)
        connection.execute(insert, values | {"max_images": limits.max_images, "max_bytes": limits.max_bytes})
        cursor = connection.execute(*find)
        totals = connection.execute(TOTALS)
    found = next((found for row in cursor if (found := found_in(row, read)) is not None), None)
    if found is None:
        raise QuotaExceeded(**totals.fetchall()[0])
    return found


def found_in[R](row: dict[str, Any], read: Callable[[dict[str, Any]], R]) -> R | Tombstone | None:
    """The tombstone or the record in a row that was joined with the tombstones."""
    if row["deleted_at"] is not None:
        return Tombstone(row["requested_id"], row["deleted_at"], row["receipt"], row["merged_into"])
    return read(row) if row["id"] is not None else None


def record_of(row: dict[str, Any]) -> ImageRecord:
    return read_record(ImageRecord, row | {"step": Step(row["step"])})


def conditions_of(query: MediaQuery, statuses: Mapping[str, int] | None = None) -> tuple[list[str], list[Any]]:
    """WHERE parts and their values; parts are constants, values are parameters.

    Parameters
    ----------
    statuses : their numbers in the column ``step``; without it, the column ``status`` is used.
    """
    chosen = [statuses[status] if statuses else status for status in query.statuses]
    filters: list[tuple[str, Any]] = [
        ("step = ANY(%s)" if statuses else "status = ANY(%s)", chosen or None),
        ("tags @> %s::text[]", [as_text(tag) for tag in query.tags] or None),
        ("uploaded_at >= %s", query.uploaded_from),
        ("uploaded_at < %s", query.uploaded_before),
        ("(uploaded_at, id) < (%s, %s)", query.after),
    ]
    return active_conditions(filters)


def active_conditions(filters: Sequence[tuple[str, Any]]) -> tuple[list[str], list[Any]]:
    """The conditions that have a value, and the values; a tuple gives several."""
    active = [(condition, value) for condition, value in filters if value is not None]
    values = [item for _, value in active for item in (value if isinstance(value, tuple) else (value,))]
    return [condition for condition, _ in active], values


def _result_row(result: StageResult) -> dict[str, Any]:
    if unknown := result.changes.keys() - CHANGES:
        raise ValueError(f"{sorted(unknown)} are not columns that a stage changes")
    columns = asdict(result)
    columns |= columns.pop("changes")
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in columns.items()}


SETTLED = """
SELECT least(clock.now, (SELECT min(xact_start) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend')) AS at
FROM (SELECT clock_timestamp() AS now) AS clock
"""
"""An entry is recorded after its transaction began, so no future entry is older than the oldest open transaction.

Read before the entries: a transaction that begins in between is later. All sessions of a tenant's database have one
role, which may see when they began; administrators write no entries.
"""
EVENT_COLUMNS = columns_of(LoggedEvent)
LIVE_EVENTS = "NOT EXISTS (SELECT FROM deleted_images d WHERE d.image_id = image_events.image_id)"


class PostgresEventLog(TenantAdapter):
    """``EventLog`` on psycopg."""

    def settled(self, tenant: Tenant) -> LogPosition:
        with self._opened(tenant) as connection:
            return _settled(connection), 0

    def page(self, tenant: Tenant, query: LogQuery) -> list[LoggedEvent]:
        with self._opened(tenant) as connection:
            until = _settled(connection) if query.after else None
            statement, values = self.statement(query, until)
            rows = connection.execute(statement.encode(), values)
            return [LoggedEvent(**row | {"step": Step(row["step"])}) for row in rows]

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
            SELECT {EVENT_COLUMNS} FROM image_events WHERE {" AND ".join([LIVE_EVENTS, *conditions])}
            ORDER BY recorded_at {order}, id {order} LIMIT %s"""  # noqa: S608
        return statement, [*values, query.limit]


def _settled(connection: Connection) -> datetime:
    (row,) = connection.execute(SETTLED).fetchall()
    at: datetime = row["at"]
    return at
