"""Accepted images that have not ended yet: one platform table for all tenants."""

from collections.abc import Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

from deeplens.database.connections import Connections, PlatformAdapter
from deeplens.database.values import as_jsonb
from deeplens.events.images import ImageUploaded
from deeplens.images.model import LAST_GENERATION
from deeplens.images.ports import Admission
from deeplens.telemetry import tracing

WINDOW = """
CASE WHEN %(shared)s < %(window)s AND EXISTS (
    SELECT 1 FROM request_counters r
    WHERE r.minute >= date_trunc('minute', now()) - interval '1 minute' AND r.tenant_id <> {tenant})
THEN %(shared)s ELSE %(window)s END
"""
"""How many images of a tenant may be in flight: fewer while another tenant uses the API."""
GENERATION = "coalesce(({}.event->>'generation')::int, 1)"
ADMIT = f"""
INSERT INTO pending_images (tenant_id, image_id, event, due, released)
SELECT %(tenant)s, %(image)s, %(event)s, %(due)s,
       (SELECT count(*) < {WINDOW.format(tenant="%(tenant)s")} FROM pending_images
        WHERE tenant_id = %(tenant)s AND released)
ON CONFLICT (tenant_id, image_id) DO UPDATE SET due = excluded.due,
    event = CASE WHEN {GENERATION.format("excluded")} > {GENERATION.format("pending_images")}
                 THEN excluded.event ELSE pending_images.event END
RETURNING released, event
"""  # noqa: S608
ADMIT_FRAMES = f"""
WITH in_flight AS (
    SELECT count(*) AS images, count(*) FILTER (WHERE event ? 'videoId') AS frames
    FROM pending_images WHERE tenant_id = %(tenant)s AND released
)
INSERT INTO pending_images (tenant_id, image_id, event, due, released)
SELECT %(tenant)s, frame.event ->> 'imageId', frame.event, %(due)s,
       frame.number <= least({WINDOW.format(tenant="%(tenant)s")} - in_flight.images, %(frames)s - in_flight.frames)
FROM in_flight, jsonb_array_elements(%(events)s) WITH ORDINALITY AS frame(event, number)
ON CONFLICT (tenant_id, image_id) DO UPDATE SET due = excluded.due
RETURNING released, event
"""  # noqa: S608
FORGET = f"""
DELETE FROM pending_images p
USING unnest(%(owners)s::text[], %(images)s::text[], %(until)s::int[]) AS ended(tenant_id, image_id, generation)
WHERE p.tenant_id = ended.tenant_id AND p.image_id = ended.image_id AND {GENERATION.format("p")} <= ended.generation
  AND (%(still_due)s::timestamptz IS NULL OR p.due = %(still_due)s)
"""  # noqa: S608
RELEASE = f"""
WITH room AS (
    SELECT t.tenant_id, greatest(0, {WINDOW.format(tenant="t.tenant_id")} - in_flight.images) AS places,
           greatest(0, %(frames)s - in_flight.frames) AS for_frames
    FROM unnest(%(tenants)s::text[]) AS t(tenant_id) CROSS JOIN LATERAL (
        SELECT count(*) AS images, count(*) FILTER (WHERE p.event ? 'videoId') AS frames
        FROM pending_images p WHERE p.tenant_id = t.tenant_id AND p.released) AS in_flight
), next AS (  -- frames last: an image does not wait behind a video
    SELECT waiting.tenant_id, waiting.image_id FROM room CROSS JOIN LATERAL (
        (SELECT p.tenant_id, p.image_id, false AS frame, p.accepted_at FROM pending_images p
         WHERE p.tenant_id = room.tenant_id AND NOT p.released AND NOT p.event ? 'videoId'
         ORDER BY p.accepted_at LIMIT room.places)
        UNION ALL
        (SELECT p.tenant_id, p.image_id, true, p.accepted_at FROM pending_images p
         WHERE p.tenant_id = room.tenant_id AND NOT p.released AND p.event ? 'videoId'
         ORDER BY p.accepted_at LIMIT least(room.places, room.for_frames))
        ORDER BY frame, accepted_at LIMIT room.places) AS waiting
)
UPDATE pending_images p SET released = true, due = %(due)s FROM next
WHERE p.tenant_id = next.tenant_id AND p.image_id = next.image_id
RETURNING p.event, p.accepted_at AS since
"""  # noqa: S608
OVERDUE = """
UPDATE pending_images p SET due = %(due)s FROM (
    SELECT tenant_id, image_id, due FROM pending_images WHERE released AND due < %(now)s
    ORDER BY due LIMIT %(limit)s FOR UPDATE SKIP LOCKED) AS late
WHERE p.tenant_id = late.tenant_id AND p.image_id = late.image_id
RETURNING p.event, late.due AS since
"""
POSTPONE = """
UPDATE pending_images p SET due = greatest(p.due, later.due)
FROM unnest(%s::text[], %s::text[], %s::timestamptz[]) AS later(tenant_id, image_id, due)
WHERE p.tenant_id = later.tenant_id AND p.image_id = later.image_id
"""
LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(tenant_id, 20)) FROM unnest(%s::text[]) AS t(tenant_id)"
"""Windows are counted under a lock per tenant, or two admissions at its edge would both pass.

A pipeline is one transaction and one round trip, and each of its statements sees what was committed before it began.
"""


class PostgresPending(PlatformAdapter):
    """``PendingImages`` on psycopg.

    Parameters
    ----------
    window : images of one tenant in flight.
    shared : the same while another tenant uses the API; never more than ``window``.
    frames : of these, those that are frames of videos.
    """

    def __init__(
        self, connections: Connections, window: int, shared: int | None = None, frames: int | None = None
    ) -> None:
        super().__init__(connections)
        self._windows = {"window": window, "shared": min(window, shared or window), "frames": frames or window}

    def admit(self, event: ImageUploaded, due: datetime) -> Admission:
        values = {
            "tenant": event.tenant_id,
            "image": event.image_id,
            "event": as_jsonb(_json(event)),
            "due": due,
            **self._windows,
        }
        with self._platform() as connection:
            with connection.pipeline():
                connection.execute(LOCK, [[event.tenant_id]])
                cursor = connection.execute(ADMIT, values)
            row = cursor.fetchall()[0]
        return Admission(ImageUploaded.model_validate(row["event"]), row["released"])

    def admit_frames(self, tenant_id: str, events: Sequence[ImageUploaded], due: datetime) -> list[ImageUploaded]:
        if not events:
            return []
        values = {
            **self._windows,
            "tenant": tenant_id,
            "due": due,
            "events": as_jsonb([_json(event) for event in events]),
        }
        with self._platform() as connection:
            with connection.pipeline():
                connection.execute(LOCK, [[tenant_id]])
                cursor = connection.execute(ADMIT_FRAMES, values)
            return [ImageUploaded.model_validate(row["event"]) for row in cursor.fetchall() if row["released"]]

    def finish(
        self,
        images: Sequence[tuple[str, str]],
        due: datetime,
        generations: Sequence[int] | None = None,
        *,
        still_due: datetime | None = None,
    ) -> list[ImageUploaded]:
        if not images:
            return []
        until = list(generations) if generations is not None else [LAST_GENERATION] * len(images)
        tenants = sorted({tenant_id for tenant_id, _ in images})
        owners, ids = [t for t, _ in images], [i for _, i in images]
        ended = {"owners": owners, "images": ids, "until": until, "still_due": still_due}
        values = {**self._windows, "tenants": tenants, "due": due}
        with self._platform() as connection:
            with connection.pipeline():
                connection.execute(LOCK, [tenants])
                connection.execute(FORGET, ended)
                cursor = connection.execute(RELEASE, values)
            return _events(cursor.fetchall())

    def postpone(self, images: Sequence[tuple[str, str, datetime]]) -> None:
        if not images:
            return
        # Of two retries of one image, the later counts; an UPDATE would take either.
        latest: dict[tuple[str, str], datetime] = {}
        for tenant_id, image_id, due in images:
            latest[tenant_id, image_id] = max(due, latest.get((tenant_id, image_id), due))
        columns = [[t for t, _ in latest], [i for _, i in latest], list(latest.values())]
        with self._platform() as connection, connection.pipeline():
            connection.execute(LOCK, [sorted({tenant_id for tenant_id, _ in latest})])
            connection.execute(POSTPONE, columns)

    def count(self, tenant_id: str) -> int:
        (row,) = self._rows("SELECT count(*) AS n FROM pending_images WHERE tenant_id = %s", [tenant_id])
        return int(row["n"])

    def overdue(self, now: datetime, due: datetime, limit: int) -> list[ImageUploaded]:
        return _events(self._rows(OVERDUE, {"now": now, "due": due, "limit": limit}))


def _json(event: ImageUploaded) -> dict[str, Any]:
    """The event as it is kept, with its trace: whoever publishes it continues that."""
    context = event.traceparent or tracing.traceparent()
    kept = event.model_dump(mode="json", by_alias=True, exclude_none=True)
    return kept | ({"traceparent": context} if context else {})


def _events(rows: list[dict[str, Any]]) -> list[ImageUploaded]:
    """Oldest first: an UPDATE returns its rows in any order."""
    return [ImageUploaded.model_validate(row["event"]) for row in sorted(rows, key=itemgetter("since"))]
