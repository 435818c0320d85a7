"""Accepted videos whose segments are not all done: one platform table for all tenants."""

from datetime import datetime

from deeplens.database.connections import Connections
from deeplens.database.values import as_jsonb
from deeplens.events.videos import VideoUploaded

ADMIT = """
INSERT INTO pending_videos (tenant_id, video_id, event, due) VALUES (%s, %s, %s, %s)
ON CONFLICT (tenant_id, video_id) DO UPDATE SET due = greatest(pending_videos.due, excluded.due)
RETURNING event
"""
OVERDUE = """
UPDATE pending_videos p SET due = %(due)s FROM (
    SELECT tenant_id, video_id, due FROM pending_videos WHERE due < %(now)s
    ORDER BY due LIMIT %(limit)s FOR UPDATE SKIP LOCKED) AS late
WHERE p.tenant_id = late.tenant_id AND p.video_id = late.video_id
RETURNING p.event, late.due AS since
"""
FORGET = "DELETE FROM pending_videos WHERE tenant_id = %s AND video_id = %s"
POSTPONE = "UPDATE pending_videos SET due = greatest(due, %s) WHERE tenant_id = %s AND video_id = %s"


class PostgresPendingVideos:
    """``PendingVideos`` on psycopg."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def admit(self, event: VideoUploaded, due: datetime) -> VideoUploaded:
        body = as_jsonb(event.model_dump(mode="json", by_alias=True, exclude_none=True))
        with self._connections.platform() as connection:
            rows = connection.execute(ADMIT, [event.tenant_id, event.video_id, body, due]).fetchall()
        return VideoUploaded.model_validate(rows[0]["event"])

    def postpone(self, tenant_id: str, video_id: str, due: datetime) -> None:
        with self._connections.platform() as connection:
            connection.execute(POSTPONE, [due, tenant_id, video_id])

    def finish(self, tenant_id: str, video_id: str) -> None:
        with self._connections.platform() as connection:
            connection.execute(FORGET, [tenant_id, video_id])

    def overdue(self, now: datetime, due: datetime, limit: int) -> list[VideoUploaded]:
        with self._connections.platform() as connection:
            rows = connection.execute(OVERDUE, {"now": now, "due": due, "limit": limit}).fetchall()
        return [VideoUploaded.model_validate(row["event"]) for row in sorted(rows, key=lambda row: row["since"])]
