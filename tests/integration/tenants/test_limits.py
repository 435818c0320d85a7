"""Quotas and totals, of the fakes as of PostgreSQL."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from deeplens.database.connections import Connections, connect
from deeplens.errors import QuotaExceeded, TenantNotFound
from deeplens.images.model import ImageRecord, NewImage, Step, Tombstone
from deeplens.images.ports import ImageRepository
from deeplens.images.postgres import PostgresImages
from deeplens.tenants.directory import PostgresDirectory
from deeplens.tenants.limits import UNLIMITED, ResourceLimits, Storage
from deeplens.tenants.model import Tenant
from deeplens.tenants.postgres import PostgresTenantRecords

from tests.fakes.db import FakeImages
from tests.integration.images.test_postgres import new_image, reached
from tests.unit.tenants.test_limits import ALLOWANCES

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
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
        with images._opened(tenant) as connection:
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

    images.mark_deleted(tenant, "img_0", NOON)
    assert counted(images, tenant) == Storage(4, 4 << 40)  # its files still stand
    images.delete_rows(tenant, {"img_0": {}, "img_1": {}, "img_unknown": {}})

    assert counted(images, tenant) == Storage(3, 3 << 40)


def test_repeats_failures_and_tombstones_count_once(images: ImageRepository, tenant: Tenant) -> None:
    for _ in range(3):
        images.insert(tenant, sized("img_a"))
        images.insert(tenant, sized("img_a", 999), THREE)
    images.insert(tenant, sized("img_b"))
    images.advance(tenant, [reached(Step.FAILED, "img_b", error_code="IMAGE_CORRUPT")])
    images.advance(tenant, [reached(Step.COMPLETED, "img_b", generation=2)])
    assert counted(images, tenant) == Storage(2, 200)

    images.mark_deleted(tenant, "img_a", NOON)
    for _ in range(2):
        images.delete_rows(tenant, {"img_a": {}})
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
    images.mark_deleted(tenant, "img_a", NOON)
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
        [FakeImages()] * 10 if kind == "fake" else [PostgresImages(environment) for environment in environments]
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
    for environment in environments:
        environment.close()


def test_uploads_deletions_and_stages_at_once_neither_deadlock_nor_miscount(platform_url: str, tenant: Tenant) -> None:
    environments = [Connections(platform_url) for _ in range(10)]
    repositories = [PostgresImages(environment) for environment in environments]

    def work(n: int) -> None:
        images, ids = repositories[n % 10], [f"img_{(n + k) % 12}" for k in range(6)]
        for image_id in ids:
            fits(images, tenant, sized(image_id), (UNLIMITED, ResourceLimits(max_images=8))[n % 2])
        images.advance(tenant, [reached(Step.COMPLETED, image_id) for image_id in reversed(ids)])
        if n % 5 == 0:
            images.mark_deleted(tenant, ids[0], NOON)
            images.delete_rows(tenant, {image_id: {} for image_id in reversed(ids)})

    with ThreadPoolExecutor(50) as workers:
        list(workers.map(work, range(150)))

    counted(repositories[0], tenant)
    for environment in environments:
        environment.close()


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
