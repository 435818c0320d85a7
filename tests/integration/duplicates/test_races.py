"""Concurrent images with the same bytes are never both lost, and pages of groups stay fast, on PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import permutations
from threading import Barrier

import pytest
from deeplens.bootstrap.container import SystemClock
from deeplens.common.stage import Done
from deeplens.database.connections import Connections, connect
from deeplens.database.credentials import database_url
from deeplens.duplicates.detect import DetectDuplicates, FindPairs
from deeplens.duplicates.model import Merge
from deeplens.duplicates.postgres import PAGE, PAGE_AFTER, PostgresDuplicates, PostgresMergeDeadlines
from deeplens.duplicates.record import RecordDuplicates
from deeplens.events.duplicates import DuplicatesFound
from deeplens.events.images import ProcessingCompleted
from deeplens.images.model import ImageRecord, Step
from deeplens.images.postgres import PostgresImages
from deeplens.tenants.model import DuplicatePolicy, Tenant
from deeplens.vectors.ports import Point

from tests.fakes.db import FakeDirectory
from tests.fakes.vectors import FakeIndex
from tests.integration.conftest import TENANT_KEY
from tests.integration.images.test_postgres import NOON, new_image, reached

ROUNDS, GROUPS = 200, 100_000


class Consumer:
    """The two stages as one of several processes runs them: with connections of its own."""

    def __init__(self, platform_url: str, tenant: Tenant, index: FakeIndex) -> None:
        self.connections = Connections(platform_url, tenant_key=TENANT_KEY)
        self.images, self.duplicates = PostgresImages(self.connections), PostgresDuplicates(self.connections)
        tenants, clock = FakeDirectory(tenant), SystemClock()
        self.detect = DetectDuplicates(
            tenants, self.images, self.duplicates, FindPairs(self.images, index, self.duplicates, clock)
        )
        deadlines = PostgresMergeDeadlines(self.connections)
        self.record = RecordDuplicates(tenants, self.images, self.duplicates, deadlines, clock)

    def run(self, tenant: Tenant, image_id: str, barrier: Barrier) -> set[str]:
        """An image's completion, and what follows from it; returns the ids of what is told of its pairs."""
        event = ProcessingCompleted(image_id=image_id, tenant_id=tenant.id, processing_time=1, completed_at=NOON)
        barrier.wait()
        (detected,) = self.detect([event])
        assert isinstance(detected, Done)
        events = [event for event in detected.events if isinstance(event, DuplicatesFound)]
        barrier.wait()
        recorded = self.record(events)
        assert all(isinstance(outcome, Done) for outcome in recorded)
        return {event.event_id for event in events}


def test_twins_on_two_partitions_are_never_both_lost(platform_url: str, tenant: Tenant) -> None:
    tenant = replace(tenant, duplicates=DuplicatePolicy("auto-merge-exact"))
    index = FakeIndex()
    index.create_collection(tenant)
    consumers = [Consumer(platform_url, tenant, index) for _ in range(2)]
    images, barrier = consumers[0].images, Barrier(2, timeout=30)
    kept = 0
    with ThreadPoolExecutor(2) as partitions:
        for number in range(ROUNDS):
            # Whichever name comes first, it is the earlier upload that stays; of equal times the lower id.
            ids = [f"img_{number:03}a", f"img_{number:03}b"]
            for image_id in ids[:: 1 if number % 2 else -1]:
                images.insert(tenant, new_image(image_id, sha256=f"{number:064x}"))
                images.advance(tenant, [reached(Step.INDEXED, image_id)])
                index.upsert(tenant, [Point(image_id, [1.0] * tenant.model.dimensions, {})])
            work = zip(consumers, ids, strict=True)
            outcomes = list(partitions.map(lambda one: one[0].run(tenant, one[1], barrier), work))
            live = [id_ for id_, row in images.find(tenant, ids).items() if isinstance(row, ImageRecord)]
            assert live == [ids[0]], number
            assert len(outcomes[0] | outcomes[1]) == 1, number
            kept += 1
            index.delete(tenant, ids)
    assert kept == ROUNDS
    assert len(consumers[0].duplicates.merges(tenant, ROUNDS + 1, None)) == ROUNDS
    for consumer in consumers:
        consumer.connections.close()


def test_merges_in_opposite_directions_leave_one_image(platform_url: str, tenant: Tenant) -> None:
    pools = [Connections(platform_url, tenant_key=TENANT_KEY) for _ in range(2)]
    images, barrier = PostgresImages(pools[0]), Barrier(2, timeout=30)

    def merge(pool: Connections, kept: str, merged: str) -> Merge | None:
        barrier.wait()
        return PostgresDuplicates(pool).merge(tenant, Merge(f"mrg_{kept}", None, kept, (merged,), NOON, NOON, "key:1"))

    with ThreadPoolExecutor(2) as workers:
        for number in range(50):
            ids = (f"img_{number}a", f"img_{number}b")
            for image_id in ids:
                images.insert(tenant, new_image(image_id))
            wanted = [(pool, *order) for pool, order in zip(pools, permutations(ids), strict=True)]
            done = list(workers.map(lambda one: merge(*one), wanted))
            live = [id_ for id_, row in images.find(tenant, ids).items() if isinstance(row, ImageRecord)]
            assert live == [merge_result.kept_id for merge_result in done if merge_result]
            assert len(live) == 1
    for pool in pools:
        pool.close()


def test_of_simultaneous_uploads_of_one_file_one_is_taken(platform_url: str, tenant: Tenant) -> None:
    pools = [Connections(platform_url, tenant_key=TENANT_KEY) for _ in range(4)]
    barrier = Barrier(4, timeout=30)

    def take(pool: Connections, image_id: str, sha256: str) -> str | None:
        PostgresImages(pool).insert(tenant, new_image(image_id, sha256=sha256))
        barrier.wait()
        return PostgresDuplicates(pool).reserve(tenant, image_id)

    with ThreadPoolExecutor(4) as workers:
        for number in range(50):
            ids = [f"img_{number}x{n}" for n in range(4)]
            given = [(pool, id_, f"{number:064x}") for pool, id_ in zip(pools, ids, strict=True)]
            replaced_by = list(workers.map(lambda one: take(*one), given))
            stayed = PostgresImages(pools[0]).find(tenant, ids).keys()
            assert [id_ for id_, twin in zip(ids, replaced_by, strict=True) if twin is None] == list(stayed)
            assert len(stayed) == 1
    for pool in pools:
        pool.close()


@pytest.fixture
def crowded(platform_url: str, tenant: Tenant) -> Tenant:
    """A tenant with 100,000 groups of two, and as many that were resolved after them."""
    with connect(database_url(platform_url, f"deeplens_{tenant.id}")) as connection:
        connection.execute("SET statement_timeout = 0")
        connection.execute(
            "INSERT INTO images (id, file_name, storage_path, mime_type, size_bytes, sha256, uploaded_at, step) "
            "SELECT 'img_' || n, 'a.jpg', 'nfs://t/a', 'image/jpeg', 1, md5((n / 2)::text), now(), 5 "
            "FROM generate_series(0, %s) AS n",
            [2 * GROUPS - 1],
        )
        connection.execute(
            "INSERT INTO duplicate_groups (id, created_at, size) "
            "SELECT 'dup_' || md5(n::text), %s::timestamptz + n * interval '1 second', "
            "CASE WHEN n < %s THEN 2 ELSE 1 END FROM generate_series(0, %s) AS n",
            [NOON, GROUPS, 2 * GROUPS - 1],
        )
        connection.execute(
            "INSERT INTO duplicate_members (image_id, group_id) "
            "SELECT 'img_' || n, 'dup_' || md5((n / 2)::text) FROM generate_series(0, %s) AS n",
            [2 * GROUPS - 1],
        )
        connection.execute("ANALYZE")
    return tenant


@pytest.mark.long
def test_a_page_of_a_hundred_thousand_groups_reads_a_page(connections: Connections, crowded: Tenant) -> None:
    duplicates = PostgresDuplicates(connections)
    deep = duplicates.page(crowded, 1, (NOON.replace(day=21), "dup_" + 32 * "f"))[0]
    for after in (None, (deep.created_at, deep.id)):
        page = duplicates.page(crowded, 50, after)
        assert len(page) == 50
        assert all(len(group.members) == 2 for group in page)
    plans = {PAGE: [50], PAGE_AFTER: [deep.created_at, deep.id, 50]}
    with connections.tenant(crowded) as connection:
        # What a prepared statement may come to after some uses.
        connection.execute("SET plan_cache_mode = force_generic_plan")
        for statement, values in plans.items():
            rows = connection.execute(f"EXPLAIN (ANALYZE, BUFFERS OFF) {statement}", values, prepare=True).fetchall()
            plan = "\n".join(next(iter(row.values())) for row in rows)
            assert "duplicate_groups_newest" in plan
            assert "Sort" not in plan
            assert "Seq Scan on duplicate" not in plan
            assert "Rows Removed" not in plan
        connection.execute("RESET plan_cache_mode")
