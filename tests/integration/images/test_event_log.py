"""All events of a tenant in one order, of the fake as of PostgreSQL: nothing twice, nothing missed, by index."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from threading import Event

import pytest
from deeplens.database.connections import Connections, connect
from deeplens.database.credentials import database_url
from deeplens.images.model import LogPosition, LogQuery, Step
from deeplens.images.ports import EventLog, ImageRepository
from deeplens.images.postgres import PostgresEventLog, PostgresImages
from deeplens.tenants.model import Tenant

from tests.fakes.db import FakeEventLog, FakeImages
from tests.integration.conftest import TENANT_KEY
from tests.integration.images.test_postgres import NOON, new_image, reached

type NewTenant = Callable[[], Tenant]


@dataclass
class Logged:
    images: ImageRepository
    log: EventLog

    def add(self, tenant: Tenant, *image_ids: str) -> None:
        for image_id in image_ids:
            self.images.insert(tenant, new_image(image_id))

    def told(self, tenant: Tenant, query: LogQuery) -> list[tuple[str, str]]:
        return [(line.image_id, line.stage) for line in self.log.page(tenant, query)]


@pytest.fixture(params=["fake", "postgres"])
def logged(request: pytest.FixtureRequest) -> Logged:
    if request.param == "fake":
        images = FakeImages()
        return Logged(images, FakeEventLog(images))
    connections: Connections = request.getfixturevalue("connections")
    return Logged(PostgresImages(connections), PostgresEventLog(connections))


def test_lines_are_newest_first_and_pages_neither_repeat_nor_miss(logged: Logged, tenant: Tenant) -> None:
    """All of the same moment, as a batch's lines are."""
    ids = [f"img_{n:02}" for n in range(25)]
    logged.add(tenant, *ids)
    logged.images.advance(tenant, [reached(Step.PREPROCESSED, image_id, occurred_at=NOON) for image_id in ids])

    seen: list[tuple[str, str]] = []
    query = LogQuery(limit=7)
    while page := logged.log.page(tenant, query):
        seen += [(line.image_id, line.stage) for line in page]
        query = replace(query, before=page[-1].position)
        logged.add(tenant, f"img_new{len(seen)}")  # lands before the page, not in it

    assert len(seen) == len(set(seen)) == 50
    assert {image_id for image_id, _ in seen} == set(ids)
    assert seen[25:] == [(image_id, "accept") for image_id in reversed(ids)]


def test_the_tail_goes_on_where_it_was(logged: Logged, tenant: Tenant) -> None:
    logged.add(tenant, "img_a")
    after = logged.log.settled(tenant)
    assert logged.told(tenant, LogQuery(after=after)) == []
    logged.add(tenant, "img_b", "img_c", "img_d")

    seen = []
    while page := logged.log.page(tenant, LogQuery(after=after, limit=2)):
        seen += [line.image_id for line in page]
        after = page[-1].position

    assert seen == ["img_b", "img_c", "img_d"]


def test_filters_go_both_ways(logged: Logged, tenant: Tenant) -> None:
    start = logged.log.settled(tenant)
    logged.add(tenant, "img_a", "img_b")
    logged.images.advance(tenant, [reached(Step.PREPROCESSED, "img_a", stage="preprocess")])
    logged.images.advance(tenant, [reached(Step.FAILED, "img_b", stage="preprocess", error_code="IMAGE_CORRUPT")])

    for query in (LogQuery(), LogQuery(after=start)):
        assert set(logged.told(tenant, replace(query, image_id="img_a"))) == {
            ("img_a", "accept"),
            ("img_a", "preprocess"),
        }
        assert set(logged.told(tenant, replace(query, stage="preprocess"))) == {
            ("img_a", "preprocess"),
            ("img_b", "preprocess"),
        }
        assert logged.told(tenant, replace(query, step=Step.FAILED)) == [("img_b", "preprocess")]
        assert logged.told(tenant, replace(query, errors=True)) == [("img_b", "preprocess")]
        assert logged.told(tenant, replace(query, stage="accept", step=Step.FAILED)) == []
        assert logged.told(tenant, replace(query, image_id="img_unknown")) == []


def test_lines_of_deleted_images_are_gone_at_once(logged: Logged, tenant: Tenant, new_tenant: NewTenant) -> None:
    other = new_tenant()
    logged.add(tenant, "img_a", "img_b")
    logged.add(other, "img_theirs")
    logged.images.mark_deleted(tenant, "img_a", NOON)
    assert logged.told(tenant, LogQuery()) == [("img_b", "accept")]
    assert logged.told(other, LogQuery()) == [("img_theirs", "accept")]


def test_who_follows_the_tail_misses_no_line_of_a_slow_transaction(connections: Connections, tenant: Tenant) -> None:
    """A line may become visible after younger ones: the tail waits for it."""
    images, log = PostgresImages(connections), PostgresEventLog(connections)
    for image_id in ("img_slow", "img_fast"):
        images.insert(tenant, new_image(image_id))
    after = log.settled(tenant)

    def tail() -> list[str]:
        return [line.image_id for line in log.page(tenant, LogQuery(after=after))]

    with connect(tenant.database_url) as slow, slow.transaction():
        slow.execute(
            "INSERT INTO image_events (image_id, generation, step, stage, occurred_at) "
            "VALUES ('img_slow', 1, 1, 'preprocess', now())"
        )
        images.advance(tenant, [reached(Step.PREPROCESSED, "img_fast", stage="preprocess")])
        newest = log.page(tenant, LogQuery(stage="preprocess"))
        assert [line.image_id for line in newest] == ["img_fast"]
        assert tail() == []
    assert tail() == ["img_slow", "img_fast"]


def test_many_writers_and_a_follower(platform_url: str, tenant: Tenant) -> None:
    environments = [Connections(platform_url, tenant_key=TENANT_KEY) for _ in range(6)]
    ids, written = [f"img_{n:03}" for n in range(60)], Event()
    reader = PostgresEventLog(environments[0])
    writers = [PostgresImages(environment) for environment in environments[1:]]
    start = reader.settled(tenant)

    def write(number: int) -> None:
        for image_id in ids[number::5]:
            writers[number].insert(tenant, new_image(image_id))
            writers[number].advance(tenant, [reached(Step.COMPLETED, image_id), reached(Step.INDEXED, image_id)])

    def follow(position: LogPosition) -> list[tuple[str, str]]:
        seen: list[tuple[str, str]] = []
        ended = False
        while True:
            page = reader.page(tenant, LogQuery(after=position, limit=11))
            seen += [(line.image_id, line.stage) for line in page]
            position = page[-1].position if page else position
            if ended and not page:
                return seen
            ended = written.is_set()

    with ThreadPoolExecutor(6) as workers:
        following = workers.submit(follow, start)
        list(workers.map(write, range(5)))
        written.set()
        seen = following.result(60)

    assert len(seen) == len(set(seen)) == 3 * len(ids)
    for environment in environments:
        environment.close()


@pytest.fixture(scope="module")
def crowded(platform_url: str) -> str:
    """A tenant with 40,000 images and 120,000 lines; one in a thousand went wrong."""
    name = "deeplens_crowded"
    with connect(platform_url) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE deeplens_template STRATEGY FILE_COPY")
    url = database_url(platform_url, name)
    with connect(url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "INSERT INTO images (id, file_name, storage_path, mime_type, size_bytes, sha256, uploaded_at) "
            "SELECT 'img_' || n, 'a.jpg', 'nfs://t/a', 'image/jpeg', 1, 'x', now() FROM generate_series(1, 40000) n"
        )
        connection.execute(
            "INSERT INTO image_events (image_id, generation, step, stage, occurred_at, error_code) "
            "SELECT 'img_' || n, 1, CASE WHEN n % 1000 = 0 THEN 4 ELSE step END, stage, now(), "
            "CASE WHEN n % 1000 = 0 THEN 'IMAGE_CORRUPT' END FROM generate_series(1, 40000) n, "
            "(VALUES (0, 'accept'), (1, 'preprocess'), (5, 'complete')) AS s(step, stage)"
        )
        connection.execute("INSERT INTO deleted_images SELECT 'img_' || n, now() FROM generate_series(1, 500) n")
        connection.execute("VACUUM ANALYZE")
    return url


QUERIES = {
    "newest": LogQuery(),
    "stage": LogQuery(stage="complete"),
    "rare stage": LogQuery(stage="nothing"),
    "status": LogQuery(step=Step.FAILED),
    "stage and status": LogQuery(stage="complete", step=Step.FAILED),
    "errors": LogQuery(errors=True),
    "image": LogQuery(image_id="img_777"),
}


@pytest.mark.parametrize("tail", [False, True], ids=["newest first", "tail"])
@pytest.mark.parametrize("name", QUERIES)
def test_every_filter_is_served_by_an_index(crowded: str, name: str, tail: bool) -> None:
    with connect(crowded) as connection:
        (row,) = connection.execute(
            "SELECT recorded_at, id FROM image_events ORDER BY id OFFSET 60000 LIMIT 1"
        ).fetchall()
        position: LogPosition = (row["recorded_at"], row["id"])
        query = replace(QUERIES[name], after=position) if tail else replace(QUERIES[name], before=position)
        until: datetime | None = row["recorded_at"].replace(year=2100) if tail else None
        statement, values = PostgresEventLog.statement(query, until)
        (found,) = connection.execute(b"EXPLAIN (ANALYZE, FORMAT JSON) " + statement.encode(), values).fetchall()
    plan = found["QUERY PLAN"][0]["Plan"]
    scans = {node["Relation Name"]: node for node in nodes(plan) if "Relation Name" in node}
    assert scans["image_events"]["Node Type"] in ("Index Scan", "Index Only Scan", "Bitmap Heap Scan"), plan
    read = scans["image_events"]["Actual Rows"] + scans["image_events"].get("Rows Removed by Filter", 0)
    assert read <= 2000, plan
    assert all(node["Actual Rows"] <= 2000 for node in nodes(plan) if node["Node Type"] == "Sort"), plan


def nodes(plan: dict) -> list[dict]:  # type: ignore[type-arg]
    return [plan, *(node for child in plan.get("Plans", []) for node in nodes(child))]
