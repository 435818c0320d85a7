"""Duplicates in a tenant's database: pHashes, pairs, groups and merges."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from operator import itemgetter
from typing import Any

from deeplens.common.groups import grouped
from deeplens.database.connections import Connection, PlatformAdapter, TenantAdapter
from deeplens.database.rows import columns_of
from deeplens.database.values import as_jsonb, as_text
from deeplens.duplicates import postgres_changes as changes
from deeplens.duplicates.model import REPEATED_WITHIN, Decision, Evidence, Group, Merge, Pair, Recorded, pair_id
from deeplens.images.model import ImageRecord, Step
from deeplens.images.postgres import COLUMNS, LIVE, record_of
from deeplens.tenants.model import Tenant

MAX_MEMBERS = 100
PAIR = columns_of(Pair)
KEEP_HASHES = """
INSERT INTO image_hashes (image_id, phash)
SELECT given.image_id, given.phash FROM unnest(%s::text[], %s::bigint[]) AS given(image_id, phash)
JOIN images ON images.id = given.image_id ORDER BY given.image_id
ON CONFLICT (image_id) DO UPDATE SET phash = excluded.phash WHERE image_hashes.phash <> excluded.phash
"""
HASHES = "SELECT image_id, phash FROM image_hashes WHERE image_id = ANY(%s)"
WITH_SAME_BYTES = f"""
SELECT wanted.sha256, other.id FROM unnest(%s::text[]) AS wanted(sha256)
CROSS JOIN LATERAL (
    SELECT id FROM images WHERE sha256 = wanted.sha256 AND step <> {int(Step.FAILED)} AND {LIVE}
    ORDER BY uploaded_at, id LIMIT %s) AS other
"""  # noqa: S608
LOCK_BYTES = "SELECT pg_advisory_xact_lock(hashtextextended(sha256, 0)) FROM images WHERE id = %s"
OTHER_WITH_SAME_BYTES = f"""
SELECT id FROM images WHERE sha256 = (SELECT sha256 FROM images WHERE id = %(id)s) AND id <> %(id)s
AND step <> {int(Step.FAILED)} AND {LIVE} ORDER BY uploaded_at, id LIMIT 1
"""  # noqa: S608
GIVE_UP = "DELETE FROM images WHERE id = %s AND step = 0"
BOTH_LIVE = """
NOT EXISTS (SELECT FROM deleted_images d WHERE d.image_id = {pair}.first_id OR d.image_id = {pair}.second_id)
"""
SAVE = f"""
INSERT INTO duplicate_pairs (id, first_id, second_id, verdict, evidence, model, found_at)
SELECT g.id, g.first_id, g.second_id, g.verdict, g.evidence, g.model, g.found_at
FROM jsonb_to_recordset(%s) AS g(
    id text, first_id text, second_id text, verdict text, evidence jsonb, model text, found_at timestamptz)
JOIN images a ON a.id = g.first_id JOIN images b ON b.id = g.second_id
WHERE {BOTH_LIVE.format(pair="g")} ORDER BY g.id
ON CONFLICT (id) DO UPDATE
SET verdict = excluded.verdict, evidence = excluded.evidence, model = excluded.model
RETURNING {PAIR}
"""  # noqa: S608
# The tenant's lock alone prevents deadlocks: the rows are locked in no order.
RECORD = f"""
UPDATE duplicate_pairs p SET recorded_at = coalesce(recorded_at, %s)
WHERE id = ANY(%s) AND decision IS DISTINCT FROM 'not-duplicate' AND {BOTH_LIVE.format(pair="p")}
RETURNING {PAIR}
"""  # noqa: S608
RECENT = "SELECT id FROM duplicate_pairs WHERE id = ANY(%s) AND recorded_at > %s"
FIND_PAIR = f"SELECT {PAIR} FROM duplicate_pairs WHERE id = %s"  # noqa: S608
GROUPS = """
SELECT g.id, g.created_at, g.size FROM duplicate_groups g
WHERE g.size > 1 {after}
  AND 2 = (SELECT count(*) FROM (
        SELECT FROM duplicate_members m WHERE m.group_id = g.id
        AND NOT EXISTS (SELECT FROM deleted_images d WHERE d.image_id = m.image_id) LIMIT 2) AS live)
ORDER BY g.created_at DESC, g.id DESC LIMIT %s
"""
# Two statements, since a prepared plan uses no index for a condition that may be empty.
PAGE, PAGE_AFTER = GROUPS.format(after=""), GROUPS.format(after="AND (g.created_at, g.id) < (%s, %s)")
GROUP = """
WITH RECURSIVE followed AS (
    SELECT id, created_at, size, into_id FROM duplicate_groups WHERE id = %s
    UNION ALL
    SELECT g.id, g.created_at, g.size, g.into_id FROM duplicate_groups g JOIN followed f ON g.id = f.into_id
)
SELECT id, created_at, size FROM followed WHERE into_id IS NULL
"""
MEMBERS = f"""
SELECT shown.group_id, {columns_of(ImageRecord, "shown.")} FROM unnest(%s::text[]) AS wanted(group_id)
CROSS JOIN LATERAL (
    SELECT m.group_id, {COLUMNS} FROM duplicate_members m JOIN images ON images.id = m.image_id
    WHERE m.group_id = wanted.group_id AND {LIVE} ORDER BY uploaded_at, id LIMIT {MAX_MEMBERS}) AS shown
"""  # noqa: S608
PAIRS_AMONG = f"""
SELECT {PAIR} FROM duplicate_pairs WHERE first_id = ANY(%(ids)s) AND second_id = ANY(%(ids)s) ORDER BY found_at, id
"""  # noqa: S608
MERGES = f"SELECT {changes.MERGE_COLUMNS} FROM merges"  # noqa: S608
NEWEST = "ORDER BY merged_at DESC, id DESC LIMIT %s"
ADD_DEADLINES = """
INSERT INTO merge_deadlines (tenant_id, merge_id, due)
SELECT * FROM unnest(%s::text[], %s::text[], %s::timestamptz[]) ON CONFLICT DO NOTHING
"""
OVERDUE = """
UPDATE merge_deadlines d SET due = %s FROM (
    SELECT m.tenant_id, m.merge_id FROM merge_deadlines m
    JOIN tenants t ON t.id = m.tenant_id AND t.status = 'active'
    WHERE m.due <= %s ORDER BY m.due LIMIT %s FOR UPDATE OF m SKIP LOCKED) AS late
WHERE d.tenant_id = late.tenant_id AND d.merge_id = late.merge_id RETURNING d.tenant_id, d.merge_id
"""


class PostgresDuplicates(TenantAdapter):
    """``Duplicates`` on psycopg."""

    def keep_hashes(self, tenant: Tenant, hashes: Mapping[str, int]) -> None:
        if not hashes:
            return
        # PostgreSQL's bigint is signed.
        signed = [value - (1 << 64) if value >= 1 << 63 else value for value in hashes.values()]
        self._execute(tenant, KEEP_HASHES, [list(hashes), signed])

    def hashes(self, tenant: Tenant, image_ids: Collection[str]) -> dict[str, int]:
        return {row["image_id"]: row["phash"] % (1 << 64) for row in self._rows(tenant, HASHES, [list(image_ids)])}

    def images_with_same_bytes(self, tenant: Tenant, sha256s: Collection[str], limit: int) -> dict[str, list[str]]:
        found = grouped(self._rows(tenant, WITH_SAME_BYTES, [list(sha256s), limit]), itemgetter("sha256"))
        return {sha256: [row["id"] for row in rows] for sha256, rows in found.items()}

    def reserve(self, tenant: Tenant, image_id: str) -> str | None:
        with self._opened(tenant) as connection, connection.transaction():
            # A lock on the digest, so that the check below sees every earlier reservation.
            connection.execute(LOCK_BYTES, [image_id])
            other = connection.execute(OTHER_WITH_SAME_BYTES, {"id": image_id}).fetchone()
            if other is None or not connection.execute(GIVE_UP, [image_id]).rowcount:
                return None
            return str(other["id"])

    def save(self, tenant: Tenant, pairs: Sequence[Pair]) -> list[Pair]:
        if not pairs:
            return []
        names = ("id", "first_id", "second_id", "verdict", "evidence", "model", "found_at")
        columns = [asdict(pair) | {"found_at": pair.found_at.isoformat()} for pair in pairs]
        rows = as_jsonb([{name: row[name] for name in names} for row in columns])
        with self._opened(tenant) as connection:
            saved = [_pair(row) for row in connection.execute(SAVE, [rows])]
            known = [pair.id for pair in saved if pair.recorded_at or pair.decision == "duplicate"]
            if known and changes.loose(connection, pair_ids=known):
                with connection.transaction():
                    changes.lock(connection, tenant)
                    # Looked up again, as another process may have grouped and merged them before the lock was free.
                    again = changes.loose(connection, pair_ids=known)
                    changes.link(connection, again, max(pair.found_at for pair in pairs))
        return saved

    def record(self, tenant: Tenant, pair_ids: Collection[str], now: datetime) -> Recorded:
        with self._locked(tenant) as connection:
            live = [_pair(row) for row in connection.execute(RECORD, [now, list(pair_ids)])]
            live.sort(key=lambda pair: (pair.found_at, pair.id))
            changes.link(connection, [(pair.first_id, pair.second_id) for pair in live], now)
            known = connection.execute(changes.GROUPS_OF, [[pair.first_id for pair in live]]).fetchall()
            group_of = {row["image_id"]: row["group_id"] for row in known}
            # Pairs that were merged before are not live any more; their merges are looked up instead.
            merges = [*changes.merges_of(connection, pair_ids), *changes.merge_exact(connection, tenant, live, now)]
            recent = [row["id"] for row in connection.execute(RECENT, [list(pair_ids), now - REPEATED_WITHIN])]
        groups = {merge.pair_id: merge.group_id for merge in merges if merge.pair_id and merge.group_id}
        groups |= {pair.id: group_of[pair.first_id] for pair in live}
        return Recorded({pair: groups[pair] for pair in recent if pair in groups}, merges)

    def pair(self, tenant: Tenant, one: str, other: str) -> Pair | None:
        row = self._row(tenant, FIND_PAIR, [pair_id(one, other)])
        return _pair(row) if row else None

    def page(self, tenant: Tenant, limit: int, after: tuple[datetime, str] | None) -> list[Group]:
        return self._groups(tenant, PAGE_AFTER if after else PAGE, [*(after or ()), limit])

    def group(self, tenant: Tenant, group_id: str) -> Group | None:
        groups = self._groups(tenant, GROUP, [as_text(group_id)])
        return next((group for group in groups if len(group.members) > 1), None)

    def _groups(self, tenant: Tenant, statement: str, values: list[Any]) -> list[Group]:
        """Groups with their live members and the pairs among these, three statements for all."""
        rows = self._rows(tenant, statement, values)
        members, pairs = defaultdict(list), defaultdict(list)
        for row in self._rows(tenant, MEMBERS, [[row["id"] for row in rows]]):
            members[row["group_id"]].append(record_of(row))
        group_of = {image.id: group_id for group_id, images in members.items() for image in images}
        for pair in map(_pair, self._rows(tenant, PAIRS_AMONG, {"ids": list(group_of)})):
            if group_of[pair.first_id] == group_of[pair.second_id]:
                pairs[group_of[pair.first_id]].append(pair)
        return [Group(**row, members=tuple(members[row["id"]]), pairs=tuple(pairs[row["id"]])) for row in rows]

    def decide(self, tenant: Tenant, image_ids: Sequence[str], decision: Decision, by: str, now: datetime) -> None:
        with self._locked(tenant) as connection:
            live = changes.rows_of(connection, image_ids)
            changes.decide(connection, list(live.values()), decision, by, now)

    def merge(self, tenant: Tenant, planned: Merge) -> Merge | None:
        with self._locked(tenant) as connection:
            return changes.merge(connection, planned)

    def merge_of(self, tenant: Tenant, merge_id: str) -> Merge | None:
        return next(iter(self._merges(tenant, "WHERE id = %s", [as_text(merge_id)])), None)

    def last_merge(self, tenant: Tenant, group_id: str, kept_id: str) -> Merge | None:
        where = f"WHERE group_id = %s AND kept_id = %s AND state <> 'undone' {NEWEST}"
        return next(iter(self._merges(tenant, where, [as_text(group_id), kept_id, 1])), None)

    def merges(self, tenant: Tenant, limit: int, after: tuple[datetime, str] | None) -> list[Merge]:
        where = "WHERE (merged_at, id) < (%s, %s)" if after else ""
        return self._merges(tenant, f"{where} {NEWEST}", [*(after or ()), limit])

    def _merges(self, tenant: Tenant, where: str, values: list[Any]) -> list[Merge]:
        return [changes.merge_from(row) for row in self._rows(tenant, f"{MERGES} {where}", values)]

    def undo(self, tenant: Tenant, merge_id: str, now: datetime) -> Merge | None:
        with self._locked(tenant) as connection:
            return changes.undo(connection, merge_id, now)

    def settle(self, tenant: Tenant, merge_id: str, now: datetime) -> Merge | None:
        with self._locked(tenant) as connection:
            return changes.settle(connection, merge_id, now)

    @contextmanager
    def _locked(self, tenant: Tenant) -> Iterator[Connection]:
        """One transaction with the tenant's lock: no other process groups or merges in the tenant."""
        with self._opened(tenant) as connection, connection.transaction():
            changes.lock(connection, tenant)
            yield connection


class PostgresMergeDeadlines(PlatformAdapter):
    """``MergeDeadlines`` on psycopg."""

    def add(self, deadlines: Sequence[tuple[str, str, datetime]]) -> None:
        if deadlines:
            self._execute(ADD_DEADLINES, [list(column) for column in zip(*deadlines, strict=True)])

    def overdue(self, now: datetime, due: datetime, limit: int) -> list[tuple[str, str]]:
        return [(row["tenant_id"], row["merge_id"]) for row in self._rows(OVERDUE, [due, now, limit])]

    def done(self, tenant_id: str, merge_ids: Collection[str]) -> None:
        if merge_ids:
            statement = "DELETE FROM merge_deadlines WHERE tenant_id = %s AND merge_id = ANY(%s)"
            self._execute(statement, [tenant_id, list(merge_ids)])


def _pair(row: dict[str, Any]) -> Pair:
    return Pair(**row | {"evidence": Evidence(**row["evidence"])})
