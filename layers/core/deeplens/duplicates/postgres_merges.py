"""Merging and its undoing within a transaction that holds the tenant's lock."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from deeplens.database.connections import Connection
from deeplens.database.values import as_jsonb, as_text
from deeplens.duplicates import postgres_groups as grouping
from deeplens.duplicates.model import Merge, Pair, in_order, merge_id_of, pair_id, undo_until, united
from deeplens.images.model import ImageRecord
from deeplens.images.postgres import COLUMNS, LIVE, record_of
from deeplens.tenants.model import Tenant

ROWS = f"SELECT {COLUMNS} FROM images WHERE id = ANY(%s) AND {LIVE} ORDER BY id FOR NO KEY UPDATE"  # noqa: S608
DECIDED_AGAINST = "SELECT id FROM duplicate_pairs WHERE id = ANY(%s) AND decision = 'not-duplicate'"
MARK_MERGED = """
INSERT INTO deleted_images (image_id, deleted_at, merged_into) SELECT unnest(%s::text[]), %s, %s
ON CONFLICT DO NOTHING RETURNING image_id
"""
AMEND = """
UPDATE images SET tags = %s, metadata = %s, revision = revision + 1, updated_at = now() WHERE id = %s
RETURNING revision
"""
MERGE_COLUMNS = "id, group_id, kept_id, merged_ids, merged_at, undo_until, by, state, pair_id, before"
KEEP = f"""
INSERT INTO merges ({MERGE_COLUMNS}) VALUES ({", ".join(f"%({name})s" for name in MERGE_COLUMNS.split(", "))})
"""  # noqa: S608
OF_PAIRS = f"SELECT {MERGE_COLUMNS} FROM merges WHERE pair_id = ANY(%s)"  # noqa: S608
ROOT = """
WITH RECURSIVE followed(image_id, merged_into) AS (
    SELECT image_id, merged_into FROM deleted_images WHERE image_id = %(id)s
    UNION ALL
    SELECT d.image_id, d.merged_into FROM deleted_images d JOIN followed f ON d.image_id = f.merged_into
)
SELECT merged_into FROM followed
"""
FIND = f"SELECT {MERGE_COLUMNS} FROM merges WHERE id = %s FOR UPDATE"  # noqa: S608
REVIVE = """
DELETE FROM deleted_images d USING images i
WHERE d.image_id = ANY(%s) AND d.merged_into = %s AND d.receipt IS NULL AND i.id = d.image_id
RETURNING d.image_id
"""
RESTORE = """
UPDATE images SET tags = %s, metadata = %s, revision = revision + 1, updated_at = now() WHERE id = %s AND revision = %s
"""
UNDONE = "UPDATE merges SET state = 'undone' WHERE id = %s"
SETTLE = f"""
UPDATE merges SET state = 'settled' WHERE id = %s AND state IN ('merged', 'settled') AND undo_until <= %s
RETURNING {MERGE_COLUMNS}
"""  # noqa: S608


def rows_of(connection: Connection, image_ids: Sequence[str]) -> dict[str, ImageRecord]:
    """Live images, locked until the transaction ends."""
    return {row["id"]: record_of(row) for row in connection.execute(ROWS, [list(image_ids)])}


def merge(connection: Connection, planned: Merge) -> Merge | None:
    """Mark images as merged into the kept one, and unite their tags and metadata in it."""
    live = rows_of(connection, [planned.kept_id, *planned.merged_ids])
    kept = live.pop(planned.kept_id, None)
    if kept is None:
        return None
    against = {pair_id(kept.id, image_id): image_id for image_id in live}
    for row in connection.execute(DECIDED_AGAINST, [list(against)]).fetchall():
        del live[against[row["id"]]]
    # An image that is being deleted has a tombstone already, and stays deleted.
    marked = connection.execute(MARK_MERGED, [sorted(live), planned.merged_at, kept.id]).fetchall()
    others = [live[row["image_id"]] for row in marked]
    if not others:
        return None
    group = connection.execute(grouping.GROUPS_OF, [[kept.id]]).fetchone()
    connection.execute(grouping.REMOVE, [[other.id for other in others]])
    done = replace(
        planned,
        merged_ids=tuple(sorted(other.id for other in others)),
        group_id=group["group_id"] if group else planned.group_id,
        before=_unite(connection, kept, others),
    )
    values = {name: getattr(done, name) for name in MERGE_COLUMNS.split(", ")}
    values |= {"merged_ids": list(done.merged_ids), "before": as_jsonb(done.before), "by": as_text(done.by)}
    connection.execute(KEEP, values)
    return done


def _unite(connection: Connection, kept: ImageRecord, others: Sequence[ImageRecord]) -> dict[str, Any]:
    """Give the kept image the tags and metadata of all; returns its old ones, or nothing if they did not change."""
    tags, metadata = united(kept, others)
    if (tags, metadata) == (kept.tags, kept.metadata):
        return {}
    changed = connection.execute(AMEND, [list(tags), as_jsonb(metadata), kept.id]).fetchall()
    return {"tags": list(kept.tags), "metadata": kept.metadata, "revision": changed[0]["revision"]}


def merges_of(connection: Connection, pair_ids: Collection[str]) -> list[Merge]:
    """Earlier merges of these pairs by policy, unless they were undone."""
    known = [merge_from(row) for row in connection.execute(OF_PAIRS, [list(pair_ids)])]
    return [merge for merge in known if merge.state != "undone"]


def merge_exact(connection: Connection, tenant: Tenant, pairs: Sequence[Pair], now: datetime) -> list[Merge]:
    """Merge copies of the same bytes into the earliest, if the tenant's policy says so."""
    if tenant.duplicates.action != "auto-merge-exact":
        return []
    tried = {row["pair_id"] for row in connection.execute(OF_PAIRS, [[pair.id for pair in pairs]])}
    exact = [pair for pair in pairs if pair.verdict == "exact" and pair.decision is None and pair.id not in tried]
    made = [_merge_pair(connection, tenant, pair, now) for pair in exact]
    return [merge for merge in made if merge is not None]


def _merge_pair(connection: Connection, tenant: Tenant, pair: Pair, now: datetime) -> Merge | None:
    """Merge the images that a pair's ids lead to now, after earlier merges."""
    roots = [_root(connection, image_id) for image_id in (pair.first_id, pair.second_id)]
    live = rows_of(connection, roots)
    if len(live) != 2:
        return None
    first, second = in_order(*live.values())
    if first.sha256 != second.sha256:
        return None
    until = undo_until(tenant.duplicates, now)
    planned = Merge(merge_id_of(pair.id), None, first.id, (second.id,), now, until, "policy", pair_id=pair.id)
    return merge(connection, planned)


def _root(connection: Connection, image_id: str) -> str:
    followed = [row["merged_into"] for row in connection.execute(ROOT, {"id": image_id})]
    return next((into for into in reversed(followed) if into), image_id)


def undo(connection: Connection, merge_id: str, now: datetime) -> Merge | None:
    row = connection.execute(FIND, [as_text(merge_id)]).fetchone()
    if row is None:
        return None
    done = merge_from(row)
    if done.state == "undone":
        return done
    if done.state != "merged" or now >= done.undo_until:
        return None
    connection.execute(UNDONE, [done.id])
    revived = [row["image_id"] for row in connection.execute(REVIVE, [list(done.merged_ids), done.kept_id])]
    if done.before:
        before = done.before
        old = [before["tags"], as_jsonb(before["metadata"]), done.kept_id, before["revision"]]
        connection.execute(RESTORE, old)
    images = rows_of(connection, [done.kept_id, *revived])
    # An undo is a decision by a person: no policy may merge these again.
    for image_id in revived:
        if done.kept_id in images:
            grouping.decide(connection, [images[done.kept_id], images[image_id]], "duplicate", "undo", now)
    # The kept image may be deleted or merged by now; the other recorded pairs of the revived ones restore groups.
    grouping.link(connection, grouping.loose(connection, image_ids=revived), now)
    return replace(done, state="undone")


def settle(connection: Connection, merge_id: str, now: datetime) -> Merge | None:
    row = connection.execute(SETTLE, [as_text(merge_id), now]).fetchone()
    return merge_from(row) if row else None


def merge_from(row: dict[str, Any]) -> Merge:
    return Merge(**row | {"merged_ids": tuple(row["merged_ids"])})
