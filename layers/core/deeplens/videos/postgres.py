"""Videos in a tenant's database, where triggers keep what their frames add up to; pending videos of all tenants."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from operator import itemgetter
from typing import Any

from deeplens.database.connections import PlatformAdapter, TenantAdapter
from deeplens.database.rows import record_of as read_record
from deeplens.database.values import as_jsonb, as_text
from deeplens.events.videos import VideoUploaded
from deeplens.images.model import ImageRecord, MediaQuery, NewImage, Tombstone
from deeplens.images.postgres import COLUMNS as IMAGE_COLUMNS
from deeplens.images.postgres import LIVE as LIVE_IMAGE
from deeplens.images.postgres import WITHIN, conditions_of, found_in, insert_within, record_of, values_of
from deeplens.tenants.limits import UNLIMITED, ResourceLimits
from deeplens.tenants.model import Tenant
from deeplens.videos.model import NewVideo, Segment, VideoFacts, VideoRecord

COLUMNS = ", ".join(field.name for field in fields(VideoRecord) if field.name != "segments_done")
DONE = "(SELECT count(*) FROM video_segments s WHERE s.video_id = videos.id AND s.done)::int AS segments_done"
LIVE = "NOT EXISTS (SELECT FROM deleted_videos d WHERE d.video_id = videos.id)"
SEGMENT = "number, begin_seconds, end_seconds, max_frames, every_seconds, last, done"
INSERT = f"""
INSERT INTO videos (id, file_name, storage_path, mime_type, size_bytes, sha256, uploaded_at, tags, metadata)
SELECT %(id)s, %(file_name)s, %(storage_path)s, %(mime_type)s, %(size_bytes)s, %(sha256)s, %(uploaded_at)s,
       %(tags)s::text[], %(metadata)s
WHERE NOT EXISTS (SELECT FROM deleted_videos WHERE video_id = %(id)s) AND {WITHIN}
ON CONFLICT (id) DO NOTHING
"""  # noqa: S608
FIND = f"""
SELECT w.id AS requested_id, d.deleted_at, d.receipt, NULL AS merged_into, v.* FROM (SELECT %s::text AS id) w
LEFT JOIN (SELECT {COLUMNS}, {DONE} FROM videos) v ON v.id = w.id LEFT JOIN deleted_videos d ON d.video_id = w.id
"""  # noqa: S608
ENDED = f"""
SELECT {COLUMNS}, {DONE} FROM videos WHERE id = ANY(%s) AND status IN ('completed', 'failed') AND {LIVE} ORDER BY id
"""  # noqa: S608
KEEP_FACTS = f"""
UPDATE videos SET {", ".join(f"{fact.name} = %({fact.name})s" for fact in fields(VideoFacts))},
    segments = %(segments)s, updated_at = now(), status = CASE status WHEN 'accepted' THEN 'processing' ELSE status END
WHERE id = %(id)s AND segments IS NULL RETURNING id
"""  # noqa: S608
KEEP_SEGMENTS = f"""
INSERT INTO video_segments (video_id, {SEGMENT})
SELECT %s, {SEGMENT} FROM jsonb_to_recordset(%s) AS s(
    number int, begin_seconds float8, end_seconds float8, max_frames int, every_seconds float8, last bool, done bool)
"""  # noqa: S608
SEGMENTS = f"SELECT {SEGMENT} FROM video_segments WHERE video_id = %s ORDER BY number"  # noqa: S608
STARTS = {
    True: "UPDATE videos SET starts = {0} WHERE id = %(id)s RETURNING starts",
    False: "UPDATE video_segments SET starts = {0} WHERE video_id = %(id)s AND number = %(number)s RETURNING starts",
}
ADD_FRAMES = """
WITH added AS (
    INSERT INTO images (id, file_name, storage_path, mime_type, size_bytes, sha256, uploaded_at, tags, metadata,
                        video_id, frame_offset_seconds)
    SELECT f.id, v.file_name, f.storage_path, f.mime_type, f.size_bytes, f.sha256, v.uploaded_at, v.tags, v.metadata,
           v.id, f.frame_offset_seconds
    FROM jsonb_to_recordset(%s) AS f(id text, storage_path text, mime_type text, size_bytes bigint, sha256 text,
                                     frame_offset_seconds float8)
    JOIN videos v ON v.id = %s
    WHERE NOT EXISTS (SELECT FROM deleted_images d WHERE d.image_id = f.id)
      AND NOT EXISTS (SELECT FROM deleted_videos d WHERE d.video_id = v.id)
    ON CONFLICT (id) DO NOTHING RETURNING id, generation, step
)
INSERT INTO image_events (image_id, generation, step, stage, occurred_at)
SELECT id, generation, step, 'accept', clock_timestamp() FROM added
"""
FRAMES = f"""
SELECT {IMAGE_COLUMNS} FROM images
WHERE video_id = %s AND frame_offset_seconds >= %s AND (frame_offset_seconds < %s) IS NOT FALSE AND {LIVE_IMAGE}
ORDER BY frame_offset_seconds, id LIMIT %s
"""  # noqa: S608
FINISH = """
WITH done AS (UPDATE video_segments SET done = true, starts = 0 WHERE video_id = %(id)s AND number = %(number)s)
SELECT NOT EXISTS (
    SELECT FROM video_segments WHERE video_id = %(id)s AND number <> %(number)s AND NOT done) AS all_done
"""
FAIL = """
UPDATE videos SET status = 'failed', error_code = %s, error_message = %s, error_retryable = %s, updated_at = now()
WHERE id = %s AND status NOT IN ('completed', 'failed')
"""
MARK_DELETED = """
INSERT INTO deleted_videos (video_id, deleted_at) SELECT id, %(at)s FROM videos WHERE id = %(id)s ON CONFLICT DO NOTHING
"""
MARK_DELETED_FRAMES = """
INSERT INTO deleted_images (image_id, deleted_at)
SELECT i.id, %(at)s FROM images i JOIN deleted_videos d ON d.video_id = i.video_id WHERE d.video_id = %(id)s
ON CONFLICT DO NOTHING
"""
DELETE_ROW = """
WITH kept AS (UPDATE deleted_videos SET receipt = %s WHERE video_id = %s RETURNING video_id)
DELETE FROM videos USING kept WHERE videos.id = kept.video_id
"""
PURGE = "DELETE FROM deleted_videos WHERE deleted_at < now() - interval '37 days' AND receipt IS NOT NULL"
ADMIT_PENDING = """
INSERT INTO pending_videos (tenant_id, video_id, event, due) VALUES (%s, %s, %s, %s)
ON CONFLICT (tenant_id, video_id) DO UPDATE SET due = greatest(pending_videos.due, excluded.due)
RETURNING event
"""
OVERDUE_PENDING = """
UPDATE pending_videos p SET due = %(due)s FROM (
    SELECT tenant_id, video_id, due FROM pending_videos WHERE due < %(now)s
    ORDER BY due LIMIT %(limit)s FOR UPDATE SKIP LOCKED) AS late
WHERE p.tenant_id = late.tenant_id AND p.video_id = late.video_id
RETURNING p.event, late.due AS since
"""
DELETE_PENDING = "DELETE FROM pending_videos WHERE tenant_id = %s AND video_id = %s"
POSTPONE_PENDING = "UPDATE pending_videos SET due = greatest(due, %s) WHERE tenant_id = %s AND video_id = %s"


class PostgresVideos(TenantAdapter):
    """``VideoRepository`` on psycopg."""

    def insert(self, tenant: Tenant, video: NewVideo, limits: ResourceLimits = UNLIMITED) -> VideoRecord | Tombstone:
        # A video is no image; its frames will be.
        bytes_only = ResourceLimits(max_bytes=limits.max_bytes)
        with self._opened(tenant) as connection:
            return insert_within(connection, bytes_only, INSERT, values_of(video), (FIND, [video.id]), _record)

    def find(self, tenant: Tenant, video_id: str) -> VideoRecord | Tombstone | None:
        return found_in(self._rows(tenant, FIND, [video_id])[0], _record)

    def ended(self, tenant: Tenant, video_ids: Sequence[str]) -> list[VideoRecord]:
        rows = self._rows(tenant, ENDED, [list(video_ids)]) if video_ids else []
        return [_record(row) for row in rows]

    def page(self, tenant: Tenant, query: MediaQuery) -> list[VideoRecord]:
        where, values = conditions_of(query)
        conditions = " AND ".join([LIVE, *where])
        order = "ORDER BY uploaded_at DESC, id DESC LIMIT %s"
        statement = f"SELECT {COLUMNS}, {DONE} FROM videos WHERE {conditions} {order}"  # noqa: S608
        return [_record(row) for row in self._rows(tenant, statement, [*values, query.limit])]

    def names(self, tenant: Tenant, video_ids: Sequence[str]) -> dict[str, str]:
        statement = f"SELECT id, file_name FROM videos WHERE id = ANY(%s) AND {LIVE}"  # noqa: S608
        return {row["id"]: row["file_name"] for row in self._rows(tenant, statement, [list(video_ids)])}

    def plan(
        self, tenant: Tenant, video_id: str, facts: VideoFacts, segments: Sequence[Segment]
    ) -> tuple[Segment, ...]:
        values = asdict(facts) | {"id": video_id, "segments": len(segments)}
        with self._opened(tenant) as connection, connection.transaction():
            # Who comes second waits here for the first, and then finds its plan.
            if connection.execute(KEEP_FACTS, values).fetchone():
                connection.execute(KEEP_SEGMENTS, [video_id, as_jsonb([asdict(segment) for segment in segments])])
            return _segments(connection.execute(SEGMENTS, [video_id]).fetchall())

    def segments(self, tenant: Tenant, video_id: str) -> tuple[Segment, ...]:
        return _segments(self._rows(tenant, SEGMENTS, [video_id]))

    def start(self, tenant: Tenant, video_id: str, segment: int | None) -> int:
        return self._starts(tenant, video_id, segment, "starts + 1")

    def stop(self, tenant: Tenant, video_id: str, segment: int | None) -> None:
        self._starts(tenant, video_id, segment, "0")

    def _starts(self, tenant: Tenant, video_id: str, segment: int | None, value: str) -> int:
        row = self._row(tenant, STARTS[segment is None].format(value), {"id": video_id, "number": segment})
        return int(row["starts"]) if row else 0

    def add_frames(self, tenant: Tenant, video_id: str, frames: Sequence[NewImage]) -> None:
        columns = ("id", "storage_path", "mime_type", "size_bytes", "sha256", "frame_offset_seconds")
        rows = [{name: getattr(frame, name) for name in columns} for frame in frames]
        self._execute(tenant, ADD_FRAMES, [as_jsonb(rows), video_id])

    def frames(
        self, tenant: Tenant, video_id: str, begin: float = 0, end: float | None = None, limit: int | None = None
    ) -> list[ImageRecord]:
        return [record_of(row) for row in self._rows(tenant, FRAMES, [video_id, begin, end, limit])]

    def frame_ids(self, tenant: Tenant, video_id: str) -> list[str]:
        rows = self._rows(tenant, "SELECT id FROM images WHERE video_id = %s", [video_id])
        return [row["id"] for row in rows]

    def finish_segment(self, tenant: Tenant, video_id: str, segment: int) -> bool:
        row = self._row(tenant, FINISH, {"id": video_id, "number": segment})
        return bool(row and row["all_done"])

    def fail(self, tenant: Tenant, video_id: str, code: str, message: str, retryable: bool) -> None:
        self._execute(tenant, FAIL, [code, as_text(message), retryable, video_id])

    def mark_deleted(self, tenant: Tenant, video_id: str, at: datetime) -> bool:
        values = {"id": video_id, "at": at}
        with self._opened(tenant) as connection:
            with connection.pipeline():
                connection.execute(MARK_DELETED, values)
                connection.execute(MARK_DELETED_FRAMES, values)
                cursor = connection.execute("SELECT 1 FROM deleted_videos WHERE video_id = %(id)s", values)
            return cursor.fetchone() is not None

    def delete_rows(self, tenant: Tenant, video_id: str, receipt: dict[str, Any]) -> None:
        with self._opened(tenant) as connection:
            connection.execute(DELETE_ROW, [as_jsonb(receipt), video_id])
            connection.execute(PURGE)


def _record(row: dict[str, Any]) -> VideoRecord:
    return read_record(VideoRecord, row)


def _segments(rows: Sequence[dict[str, Any]]) -> tuple[Segment, ...]:
    return tuple(Segment(**row) for row in rows)


class PostgresPendingVideos(PlatformAdapter):
    """``PendingVideos`` on psycopg."""

    def admit(self, event: VideoUploaded, due: datetime) -> VideoUploaded:
        body = as_jsonb(event.model_dump(mode="json", by_alias=True, exclude_none=True))
        (row,) = self._rows(ADMIT_PENDING, [event.tenant_id, event.video_id, body, due])
        return VideoUploaded.model_validate(row["event"])

    def postpone(self, tenant_id: str, video_id: str, due: datetime) -> None:
        self._execute(POSTPONE_PENDING, [due, tenant_id, video_id])

    def finish(self, tenant_id: str, video_id: str) -> None:
        self._execute(DELETE_PENDING, [tenant_id, video_id])

    def overdue(self, now: datetime, due: datetime, limit: int) -> list[VideoUploaded]:
        rows = self._rows(OVERDUE_PENDING, {"now": now, "due": due, "limit": limit})
        return [VideoUploaded.model_validate(row["event"]) for row in sorted(rows, key=itemgetter("since"))]
