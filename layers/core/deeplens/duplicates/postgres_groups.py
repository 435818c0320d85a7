"""Groups of duplicates within a transaction that holds the tenant's lock."""

from collections.abc import Collection, Sequence
from datetime import datetime
from itertools import chain, combinations
from uuid import uuid4

from deeplens.database.connections import Connection
from deeplens.database.values import as_jsonb, as_text
from deeplens.duplicates.groups import join, split
from deeplens.duplicates.model import Decision, in_order, pair_id
from deeplens.images.model import ImageRecord
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
