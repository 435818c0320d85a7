"""Changes of groups and merges within a transaction that holds the tenant's lock."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain, combinations
from typing import Any
from uuid import uuid4

from deeplens.database.connections import Connection
from deeplens.database.rows import columns_of, insert_into, parameters_of
from deeplens.database.values import as_jsonb, as_text
from deeplens.duplicates.model import (
    Decision,
    Merge,
    Pair,
    in_order,
    join,
    merge_id_of,
    pair_id,
    split,
    undo_until,
    united,
)
from deeplens.images.model import ImageRecord
from deeplens.images.postgres import COLUMNS, LIVE, record_of
from deeplens.tenants.model import Tenant

LOCK_SPACE = 0x6475_7065
"""First half of the advisory lock's key; the other half is the tenant's hash."""
LOCK = "SELECT pg_advisory_xact_lock(%s, hashtext(%s))"
GROUPS_OF = """
SELECT m.image_id, m.group_id, g.created_at FROM duplicate_members m JOIN duplicate_groups g ON g.id = m.group_id
WHERE m.image_id = ANY(%s)
"""
NEW_GROUPS = "INSERT INTO duplicate_groups (id, created_at) SELECT unnest(%s::text[]), %s"
MOVE = """
UPDATE duplicate_members m SET group_id = moved.into_id
FROM unnest(%s::text[], %s::text[]) AS moved(group_id, into_id) WHERE m.group_id = moved.group_id
"""
ABSORB = """
UPDATE duplicate_groups g SET into_id = moved.into_id
FROM unnest(%s::text[], %s::text[]) AS moved(group_id, into_id) WHERE g.id = moved.group_id
"""
PLACE = """
INSERT INTO duplicate_members (image_id, group_id)
SELECT placed.image_id, placed.group_id FROM unnest(%s::text[], %s::text[]) AS placed(image_id, group_id)
ON CONFLICT (image_id) DO UPDATE SET group_id = excluded.group_id
"""
REMOVE = "DELETE FROM duplicate_members WHERE image_id = ANY(%s)"
RECOUNT = """
UPDATE duplicate_groups g SET size = (SELECT count(*) FROM duplicate_members m WHERE m.group_id = g.id)
WHERE g.id = ANY(%s)
"""
MEMBERS = "SELECT image_id FROM duplicate_members WHERE group_id = %s"
LINKS = """
SELECT first_id, second_id FROM duplicate_pairs
WHERE first_id = ANY(%(ids)s) AND second_id = ANY(%(ids)s) AND decision IS DISTINCT FROM 'not-duplicate'
  AND (recorded_at IS NOT NULL OR decision = 'duplicate')
"""
LOOSE = """
SELECT p.first_id, p.second_id FROM duplicate_pairs p
WHERE (p.id = ANY(%(pairs)s) OR p.first_id = ANY(%(images)s) OR p.second_id = ANY(%(images)s))
  AND p.decision IS DISTINCT FROM 'not-duplicate' AND (p.recorded_at IS NOT NULL OR p.decision = 'duplicate')
  AND NOT EXISTS (SELECT FROM deleted_images d WHERE d.image_id = p.first_id OR d.image_id = p.second_id)
  AND NOT EXISTS (
    SELECT FROM duplicate_members a JOIN duplicate_members b ON b.group_id = a.group_id
    WHERE a.image_id = p.first_id AND b.image_id = p.second_id)
ORDER BY p.found_at, p.id
"""
DECIDE = """
INSERT INTO duplicate_pairs (id, first_id, second_id, evidence, model, found_at, decision, decided_at, decided_by)
SELECT d.id, d.first_id, d.second_id, d.evidence, '', %(now)s, %(decision)s, %(now)s, %(by)s
FROM jsonb_to_recordset(%(pairs)s) AS d(id text, first_id text, second_id text, evidence jsonb) ORDER BY d.id
ON CONFLICT (id) DO UPDATE
SET decision = excluded.decision, decided_at = excluded.decided_at, decided_by = excluded.decided_by
"""
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
MERGE_COLUMNS = columns_of(Merge)
KEEP = insert_into("merges", Merge)
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


def lock(connection: Connection, tenant: Tenant) -> None:
    """Take the tenant's lock on groups and merges until the transaction ends."""
    connection.execute(LOCK, [LOCK_SPACE, tenant.id])


def link(connection: Connection, links: Sequence[tuple[str, str]], now: datetime) -> None:
    """Put linked images into one group per component, in a constant number of statements."""
    if not links:
        return
    known = connection.execute(GROUPS_OF, [sorted(set(chain.from_iterable(links)))]).fetchall()
    born = {row["group_id"]: row["created_at"] for row in known}
    joined = join(links, {row["image_id"]: row["group_id"] for row in known}, born)
    targets = [(component.group_id or new_group_id(), component) for component in joined]
    made = [target for target, component in targets if component.group_id is None]
    moved = [(old, target) for target, component in targets for old in component.absorbed]
    placed = [(image, target) for target, component in targets for image in sorted(component.members)]
    connection.execute(NEW_GROUPS, [made, now])
    connection.execute(MOVE, _columns(moved))
    connection.execute(ABSORB, _columns(moved))
    connection.execute(PLACE, _columns(placed))
    connection.execute(RECOUNT, [[*(target for target, _ in targets), *(old for old, _ in moved)]])


def loose(
    connection: Connection, *, pair_ids: Collection[str] = (), image_ids: Collection[str] = ()
) -> list[tuple[str, str]]:
    """Recorded pairs, among these and those of these images, whose images are live but share no group."""
    rows = connection.execute(LOOSE, {"pairs": list(pair_ids), "images": list(image_ids)})
    return [(row["first_id"], row["second_id"]) for row in rows]


def decide(connection: Connection, images: Sequence[ImageRecord], decision: Decision, by: str, now: datetime) -> None:
    """Store a decision on every pair of these images, and regroup."""
    pairs = [in_order(*pair) for pair in combinations(images, 2)]
    rows = [
        {
            "id": pair_id(first.id, second.id),
            "first_id": first.id,
            "second_id": second.id,
            "evidence": {"same_bytes": first.sha256 == second.sha256},
        }
        for first, second in pairs
    ]
    connection.execute(DECIDE, {"pairs": as_jsonb(rows), "decision": decision, "by": as_text(by), "now": now})
    if decision == "duplicate":
        link(connection, [(first.id, second.id) for first, second in pairs], now)
        return
    known = connection.execute(GROUPS_OF, [sorted(image.id for image in images)]).fetchall()
    for group_id in sorted({row["group_id"] for row in known}):
        _split_group(connection, group_id, now)


def _split_group(connection: Connection, group_id: str, now: datetime) -> None:
    """Split a group into its connected parts; the largest keeps the id, single images leave."""
    members = {row["image_id"] for row in connection.execute(MEMBERS, [group_id])}
    links = [(row["first_id"], row["second_id"]) for row in connection.execute(LINKS, {"ids": sorted(members)})]
    parts = split(members, links)
    others = [(new_group_id(), part) for part in parts[1:]]
    connection.execute(NEW_GROUPS, [[target for target, _ in others], now])
    connection.execute(PLACE, _columns([(image, target) for target, part in others for image in sorted(part)]))
    connection.execute(REMOVE, [sorted(members - set(chain.from_iterable(parts)))])
    connection.execute(RECOUNT, [[group_id, *(target for target, _ in others)]])


def new_group_id() -> str:
    return f"dup_{uuid4().hex}"


def _columns(rows: Collection[tuple[str, str]]) -> list[list[str]]:
    """Rows as arrays of their columns."""
    return [[first for first, _ in rows], [second for _, second in rows]]


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
    group = connection.execute(GROUPS_OF, [[kept.id]]).fetchone()
    connection.execute(REMOVE, [[other.id for other in others]])
    done = replace(
        planned,
        merged_ids=tuple(sorted(other.id for other in others)),
        group_id=group["group_id"] if group else planned.group_id,
        before=_unite(connection, kept, others),
    )
    connection.execute(KEEP, parameters_of(done) | {"before": as_jsonb(done.before)})
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
            decide(connection, [images[done.kept_id], images[image_id]], "duplicate", "undo", now)
    # The kept image may be deleted or merged by now; the other recorded pairs of the revived ones restore groups.
    link(connection, loose(connection, image_ids=revived), now)
    return replace(done, state="undone")


def settle(connection: Connection, merge_id: str, now: datetime) -> Merge | None:
    row = connection.execute(SETTLE, [as_text(merge_id), now]).fetchone()
    return merge_from(row) if row else None


def merge_from(row: dict[str, Any]) -> Merge:
    return Merge(**row | {"merged_ids": tuple(row["merged_ids"])})
