"""Quotas, totals and request counters, of the fakes as of PostgreSQL."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from deeplens import tenants
from deeplens.db import migrate
from deeplens.db.connections import Connections, connect
from deeplens.db.directory import PostgresDirectory, database_url
from deeplens.db.images import INSERT, PostgresImages
from deeplens.db.tenant_records import PostgresTenantRecords
from deeplens.db.usage import PostgresRequestCounters, PostgresUsage
from deeplens.domain import ImageRecord, NewImage, Step, Tenant, Tombstone
from deeplens.errors import QuotaExceeded, TenantNotFound
from deeplens.limits import UNLIMITED, ResourceLimits, Storage
from deeplens.metering import DayTotal
from deeplens.ports import ImageRepository, RequestCounters, UsageMeter

from tests.fakes.db import FakeImages, FakeRequestCounters
from tests.integration.db.test_images import new_image, reached
from tests.unit.test_limits import ALLOWANCES

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = NOON.date()
THREE = ResourceLimits(max_images=3)


@pytest.fixture(params=["fake", "postgres"])
def images(request: pytest.FixtureRequest) -> ImageRepository:
    return FakeImages() if request.param == "fake" else PostgresImages(request.getfixturevalue("connections"))


def sized(image_id: str, size_bytes: int = 100) -> NewImage:
    return new_image(image_id, size_bytes=size_bytes)


def fits(images: ImageRepository, tenant: Tenant, image: NewImage, limits: ResourceLimits) -> bool:
    try:
        images.insert(tenant, image, limits)
    except QuotaExceeded:
        return False
    return True


def counted(images: ImageRepository, tenant: Tenant) -> Storage:
    """The totals, after holding them against the rows."""
    totals = images.totals(tenant)
    if isinstance(images, PostgresImages):
        with images._connections.tenant(tenant) as connection:
            rows = connection.execute(
                "SELECT count(*) AS images, coalesce(sum(size_bytes), 0)::int8 AS bytes FROM images"
            )
            assert totals == Storage(**rows.fetchall()[0])
    return totals


def test_totals_follow_every_insertion_and_erasure(images: ImageRepository, tenant: Tenant) -> None:
    assert counted(images, tenant) == Storage(0, 0)
    for n in range(4):
        images.insert(tenant, sized(f"img_{n}", 1 << 40))
    assert counted(images, tenant) == Storage(4, 4 << 40)

    images.bury(tenant, "img_0", NOON)
    assert counted(images, tenant) == Storage(4, 4 << 40)  # its files still stand
    images.erase(tenant, {"img_0": {}, "img_1": {}, "img_unknown": {}})

    assert counted(images, tenant) == Storage(3, 3 << 40)


def test_repeats_failures_and_tombstones_count_once(images: ImageRepository, tenant: Tenant) -> None:
    for _ in range(3):
        images.insert(tenant, sized("img_a"))
        images.insert(tenant, sized("img_a", 999), THREE)
    images.insert(tenant, sized("img_b"))
    images.advance(tenant, [reached(Step.FAILED, "img_b", error_code="IMAGE_CORRUPT")])
    images.advance(tenant, [reached(Step.COMPLETED, "img_b", generation=2)])
    assert counted(images, tenant) == Storage(2, 200)

    images.bury(tenant, "img_a", NOON)
    for _ in range(2):
        images.erase(tenant, {"img_a": {}})
    assert isinstance(images.insert(tenant, sized("img_a"), THREE), Tombstone)

    assert counted(images, tenant) == Storage(1, 100)


def test_beyond_a_quota_nothing_is_inserted(images: ImageRepository, tenant: Tenant) -> None:
    assert [fits(images, tenant, sized(f"img_{n}"), THREE) for n in range(5)] == [True] * 3 + [False] * 2
    assert set(images.find(tenant, [f"img_{n}" for n in range(5)])) == {"img_0", "img_1", "img_2"}
    assert images.timeline(tenant, "img_4") == []
    with pytest.raises(QuotaExceeded) as refused:
        images.insert(tenant, sized("img_9"), THREE)
    assert (refused.value.images, refused.value.bytes) == (3, 300)
    assert counted(images, tenant) == Storage(3, 300)


def test_what_is_there_is_found_however_full_it_is(images: ImageRepository, tenant: Tenant) -> None:
    images.insert(tenant, sized("img_a"))
    full = ResourceLimits(max_images=1, max_bytes=1)

    assert isinstance(images.insert(tenant, sized("img_a"), full), ImageRecord)
    images.bury(tenant, "img_a", NOON)
    assert isinstance(images.insert(tenant, sized("img_a"), full), Tombstone)


def test_stages_know_no_quota(images: ImageRepository, tenant: Tenant) -> None:
    for n in range(3):
        images.insert(tenant, sized(f"img_{n}"), THREE)
    images.advance(tenant, [reached(Step.COMPLETED, f"img_{n}") for n in range(3)])

    assert isinstance(images.insert(tenant, sized("img_frame")), ImageRecord)
    assert counted(images, tenant) == Storage(4, 400)


@pytest.mark.parametrize(
    ("limits", "used", "wanted", "exceeded"), [row[:4] for row in ALLOWANCES if row[2].images == 1]
)
def test_the_database_decides_as_the_table_says(
    connections: Connections,
    tenant: Tenant,
    limits: ResourceLimits,
    used: Storage,
    wanted: Storage,
    exceeded: tuple[Any, ...],
) -> None:
    with connections.tenant(tenant) as connection:
        connection.execute("UPDATE storage_totals SET images = %s, bytes = %s", [used.images, used.bytes])
    assert fits(PostgresImages(connections), tenant, sized("img_a", wanted.bytes), limits) == (not exceeded)


@pytest.mark.parametrize("kind", ["fake", "postgres"])
@pytest.mark.parametrize("limits", [ResourceLimits(max_images=20), ResourceLimits(max_bytes=2_050)])
def test_fifty_uploads_at_once_never_exceed_a_quota(
    kind: str, limits: ResourceLimits, platform_url: str, new_tenant: Callable[[], Tenant]
) -> None:
    """Ten execution environments, each with connections of its own; two tenants side by side."""
    environments = [Connections(platform_url) for _ in range(10)]
    repositories: list[ImageRepository] = (
        [FakeImages()] * 10 if kind == "fake" else [PostgresImages(one) for one in environments]
    )
    limited, other = new_tenant(), new_tenant()

    def upload(n: int) -> tuple[bool, bool]:
        images = repositories[n % 10]
        image = sized(f"img_{n // 2}")  # every upload is sent twice
        return fits(images, limited, image, limits), fits(images, other, image, UNLIMITED)

    with ThreadPoolExecutor(50) as workers:
        answers = list(workers.map(upload, range(100)))

    assert all(theirs for _, theirs in answers)
    assert counted(repositories[0], limited) == Storage(20, 2_000)
    assert counted(repositories[0], other) == Storage(50, 5_000)
    for one in environments:
        one.close()


def test_uploads_deletions_and_stages_at_once_neither_deadlock_nor_miscount(platform_url: str, tenant: Tenant) -> None:
    environments = [Connections(platform_url) for _ in range(10)]
    repositories = [PostgresImages(one) for one in environments]

    def work(n: int) -> None:
        images, ids = repositories[n % 10], [f"img_{(n + k) % 12}" for k in range(6)]
        for image_id in ids:
            fits(images, tenant, sized(image_id), (UNLIMITED, ResourceLimits(max_images=8))[n % 2])
        images.advance(tenant, [reached(Step.COMPLETED, image_id) for image_id in reversed(ids)])
        if n % 5 == 0:
            images.bury(tenant, ids[0], NOON)
            images.erase(tenant, {image_id: {} for image_id in reversed(ids)})

    with ThreadPoolExecutor(50) as workers:
        list(workers.map(work, range(150)))

    counted(repositories[0], tenant)
    for one in environments:
        one.close()


def test_the_migration_counts_what_is_there_and_the_version_before_keeps_counting(
    platform_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "deeplens_before_totals"
    url = database_url(platform_url, name)
    tenants.create_database(platform_url, name)
    newest = migrate.script("tenant", "0002")
    monkeypatch.setattr(migrate, "script", lambda tree, start: all_but_the_last(start))
    migrate.upgrade(url, "tenant")
    tenant = Tenant("tenant_x", "X", "active", url, "nfs://x", "", tenants.BUILT_IN_MODEL)
    connections = Connections(platform_url)
    images = PostgresImages(connections)

    images.insert(tenant, sized("img_a", 1 << 40))  # this version's code on the schema before
    images.insert(tenant, sized("img_b"))
    monkeypatch.setattr(migrate, "script", lambda tree, start: newest)
    assert migrate.upgrade(url, "tenant") == migrate.head("tenant")
    assert "storage_totals" not in INSERT  # as the version before has it
    images.insert(tenant, sized("img_c"))

    assert counted(images, tenant) == Storage(3, (1 << 40) + 200)
    connections.close()


def all_but_the_last(start: str) -> bytes:
    """What the migrations before the totals make of an empty database."""
    from io import StringIO

    from alembic import command

    config = migrate._config("tenant")
    config.output_buffer = StringIO()
    command.upgrade(config, f"{start}:0002", sql=True)
    return config.output_buffer.getvalue().encode()


@dataclass
class Requests:
    counters: RequestCounters
    usage: UsageMeter


@pytest.fixture(params=["fake", "postgres"])
def requests(request: pytest.FixtureRequest) -> Iterator[Requests]:
    if request.param == "fake":
        counters = FakeRequestCounters()
        yield Requests(counters, counters.usage)
        return
    connections: Connections = request.getfixturevalue("connections")
    with connections.platform() as connection:
        connection.execute("TRUNCATE request_counters, usage_daily, usage_events")
    yield Requests(PostgresRequestCounters(connections), PostgresUsage(connections))


def test_requests_are_counted_per_tenant_and_minute(requests: Requests) -> None:
    count = requests.counters.count
    border = NOON + timedelta(minutes=1)
    assert [count("tenant_a", NOON), count("tenant_a", border - timedelta(microseconds=1))] == [1, 2]
    assert [count("tenant_a", border), count("tenant_b", NOON), count("tenant_a", NOON)] == [1, 1, 3]


def test_fifty_callers_at_once_are_each_counted_once(requests: Requests, platform_url: str) -> None:
    environments = [Connections(platform_url) for _ in range(10)]
    postgres = isinstance(requests.counters, PostgresRequestCounters)
    counters = [PostgresRequestCounters(one) if postgres else requests.counters for one in environments]

    with ThreadPoolExecutor(50) as workers:
        seen = list(workers.map(lambda n: counters[n % 10].count(f"tenant_{n % 2}", NOON), range(500)))

    assert sorted(seen[::2]) == sorted(seen[1::2]) == list(range(1, 251))
    for one in environments:
        one.close()


def test_old_minutes_are_folded_into_their_day_and_nothing_is_counted_twice(requests: Requests) -> None:
    midnight = datetime(2026, 11, 21, tzinfo=UTC)
    for at, times in ((NOON, 2), (NOON + timedelta(minutes=1), 1), (midnight - timedelta(seconds=1), 4), (midnight, 8)):
        for _ in range(times):
            requests.counters.count("tenant_a", at)
    requests.counters.count("tenant_b", NOON)
    expected = [DayTotal("api.requests", DAY, 7), DayTotal("api.requests", DAY + timedelta(days=1), 8)]
    assert requests.usage.days("tenant_a", DAY, DAY + timedelta(days=1)) == expected

    assert requests.counters.fold(NOON + timedelta(minutes=1), 1) == 1
    assert requests.counters.fold(NOON + timedelta(minutes=2), 9) == 2
    assert requests.counters.fold(NOON + timedelta(minutes=2), 9) == 0
    requests.counters.count("tenant_a", NOON)  # a straggler whose clock is late
    assert requests.counters.fold(midnight, 9) == 2

    expected[0] = DayTotal("api.requests", DAY, 8)
    assert requests.usage.days("tenant_a", DAY, DAY + timedelta(days=1)) == expected
    assert requests.usage.days("tenant_b", DAY, DAY) == [DayTotal("api.requests", DAY, 1)]


def test_days_are_by_metric_and_within_their_bounds(requests: Requests) -> None:
    entries = [(f"d{n}", "tenant_a", "b", n + 0.5, NOON + timedelta(days=n)) for n in range(4)]
    requests.usage.record([*entries, ("other", "tenant_b", "a", 9, NOON + timedelta(days=1))])
    requests.counters.count("tenant_a", NOON + timedelta(days=2))

    found = requests.usage.days("tenant_a", DAY + timedelta(days=1), DAY + timedelta(days=2))
    requested = DayTotal("api.requests", DAY + timedelta(days=2), 1)
    assert found == [requested, *(DayTotal("b", DAY + timedelta(days=n), n + 0.5) for n in (1, 2))]
    assert requests.usage.days("tenant_nobody", date(2000, 1, 1), DAY) == []


def test_before_its_migration_nothing_is_counted_and_nobody_refused(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deeplens.db import usage

    monkeypatch.setattr(usage, "COUNT", usage.COUNT.replace("INTO request_counters", "INTO not_there_yet"))
    monkeypatch.setattr(usage, "FOLD", usage.FOLD.replace("FROM request_counters", "FROM not_there_yet"))
    counters = PostgresRequestCounters(connections)
    assert counters.fold(NOON, 9) == 0
    assert [counters.count("tenant_a", NOON) for _ in range(3)] == [0, 0, 0]


def test_set_limits_reach_every_process_within_ten_seconds(connections: Connections, tenant: Tenant) -> None:
    now = [0.0]
    directory = PostgresDirectory(connections, "", lambda: now[0])
    assert directory.get(tenant.id).limits == UNLIMITED
    limits = ResourceLimits(max_images=5, max_bytes=1 << 50, requests_per_minute=0)

    PostgresTenantRecords(connections).set_limits(tenant.id, limits)
    now[0] += 10.1

    assert directory.get(tenant.id).limits == limits
    PostgresTenantRecords(connections).set_limits(tenant.id, UNLIMITED)
    assert directory.get(tenant.id, fresh=True).limits == UNLIMITED


def test_limits_of_nobody_or_that_make_no_sense_are_refused(connections: Connections, tenant: Tenant) -> None:
    with pytest.raises(TenantNotFound):
        PostgresTenantRecords(connections).set_limits("tenant_nobody", UNLIMITED)
    with pytest.raises(ValueError, match="max_images"):
        PostgresTenantRecords(connections).set_limits(tenant.id, ResourceLimits(max_images=-1))


def test_limits_written_by_hand_never_stop_a_tenant(
    connections: Connections, platform_url: str, tenant: Tenant
) -> None:
    with connect(platform_url) as connection:
        connection.execute(
            """UPDATE tenants SET limits = '{"max_images": "many", "max_bytes": 5}' WHERE id = %s""", [tenant.id]
        )
    assert PostgresDirectory(connections, "").get(tenant.id).limits == ResourceLimits(max_bytes=5)
