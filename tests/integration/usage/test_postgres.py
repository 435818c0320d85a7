"""Usage as it is counted, of the fakes as of PostgreSQL: once per event, in the day of UTC that it fell into."""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pytest
from deeplens.database.connections import Connections, connect
from deeplens.tenants.model import Tenant
from deeplens.tenants.postgres import PostgresTenantRecords
from deeplens.usage.model import RequestMinutes, UsageMeter, UsageRow
from deeplens.usage.postgres import PostgresRequestCounters, PostgresUsage
from deeplens.usage.tick import MeterRequests

from tests.fakes.db import FakeRequestCounters

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY, DAYS, MINUTE = NOON.date(), timedelta(days=1), timedelta(minutes=1)

type NewTenant = Callable[[], Tenant]


@dataclass
class Counted:
    counters: RequestMinutes
    usage: UsageMeter


@pytest.fixture(params=["fake", "postgres"])
def counted(request: pytest.FixtureRequest) -> Iterator[Counted]:
    if request.param == "fake":
        counters = FakeRequestCounters()
        yield Counted(counters, counters.usage)
        return
    connections: Connections = request.getfixturevalue("connections")
    with connections.platform() as connection:
        connection.execute("TRUNCATE request_counters, usage_outbox, usage_daily, usage_events, usage_days")
        # Whatever the server thinks of time zones, and of nights with 25 hours.
        connection.execute("SET TIME ZONE 'America/New_York'")
    yield Counted(PostgresRequestCounters(connections), PostgresUsage(connections))


def total(counted: Counted, tenant: Tenant, metric: str = "api.requests", day: date = DAY) -> float:
    return sum(
        day_usage.quantity for day_usage in counted.usage.days(tenant.id, day, day) if day_usage.metric == metric
    )


def test_requests_are_counted_per_tenant_and_minute(counted: Counted) -> None:
    count = counted.counters.count
    border = NOON + MINUTE
    assert [count("tenant_a", NOON), count("tenant_a", border - timedelta(microseconds=1))] == [1, 2]
    assert [count("tenant_a", border), count("tenant_b", NOON), count("tenant_a", NOON)] == [1, 1, 3]
    counted.counters.add("tenant_a", NOON, searches=1, egress_bytes=1 << 40)
    counted.counters.add("tenant_c", NOON, egress_bytes=1)
    assert [counted.counters.so_far(tenant_id, NOON) for tenant_id in ("tenant_a", "tenant_c", "tenant_d")] == [3, 0, 0]


def test_fifty_callers_at_once_are_each_counted_once(counted: Counted, platform_url: str) -> None:
    environments = [Connections(platform_url) for _ in range(10)]
    postgres = isinstance(counted.counters, PostgresRequestCounters)
    counters = [PostgresRequestCounters(environment) if postgres else counted.counters for environment in environments]

    with ThreadPoolExecutor(50) as workers:
        seen = list(workers.map(lambda n: counters[n % 10].count(f"tenant_{n % 2}", NOON), range(500)))
        list(workers.map(lambda n: counters[n % 10].add("tenant_0", NOON, searches=1, egress_bytes=n), range(500)))

    assert sorted(seen[::2]) == sorted(seen[1::2]) == list(range(1, 251))
    usage_rows = {day_usage.metric: day_usage.quantity for day_usage in counted.usage.days("tenant_0", DAY, DAY)}
    assert usage_rows == {"api.requests": 250, "searches": 500, "egress.bytes": sum(range(500))}
    for environment in environments:
        environment.close()


def test_totals_are_the_same_at_every_step_of_the_way_to_the_meter(
    counted: Counted, tenant: Tenant, new_tenant: NewTenant
) -> None:
    other, seen = new_tenant(), []

    def look() -> None:
        mine = counted.usage.days(tenant.id, DAY, DAY + DAYS)
        seen.append([*mine, *counted.usage.days(other.id, DAY, DAY)])

    midnight = datetime(2026, 11, 21, tzinfo=UTC)
    for at, times in ((NOON, 2), (NOON + MINUTE, 1), (midnight - timedelta(seconds=1), 4), (midnight, 8)):
        for _ in range(times):
            counted.counters.count(tenant.id, at)
    counted.counters.add(tenant.id, NOON, searches=3, egress_bytes=5)
    counted.counters.count(other.id, NOON)
    look()
    assert counted.counters.close_minutes(NOON + MINUTE, 1) == 1
    look()
    assert counted.counters.close_minutes(midnight + MINUTE, 99) == 4
    assert counted.counters.close_minutes(midnight + MINUTE, 99) == 0
    look()
    sent = counted.counters.unmetered(midnight, midnight + 9 * MINUTE, 99)
    assert counted.counters.unmetered(midnight, midnight + 9 * MINUTE, 99) == []
    entries = [(one.event_id, one.tenant_id, m, q, one.occurred_at) for one in sent for m, q in one.quantities.items()]
    for _ in range(3):
        counted.usage.record(entries)
        look()
    assert counted.counters.unmetered(midnight + DAYS, midnight + DAYS, 99) == []

    assert seen == [seen[0]] * 6
    assert {(one.metric, one.day, one.quantity) for one in seen[0]} == {
        ("api.requests", DAY, 7),
        ("api.requests", DAY + DAYS, 8),
        ("egress.bytes", DAY, 5),
        ("searches", DAY, 3),
        ("api.requests", DAY, 1),
    }


def test_a_straggler_after_its_minute_was_folded_counts_as_well(counted: Counted, tenant: Tenant) -> None:
    for _ in range(3):
        counted.counters.count(tenant.id, NOON)
        counted.counters.close_minutes(NOON + MINUTE, 9)
    assert len(counted.counters.unmetered(NOON + MINUTE, NOON + DAYS, 9)) == 3
    assert total(counted, tenant) == 3


def test_what_was_not_metered_is_due_again(counted: Counted, tenant: Tenant) -> None:
    counted.counters.count(tenant.id, NOON)
    counted.counters.close_minutes(NOON + MINUTE, 9)
    first = counted.counters.unmetered(NOON + MINUTE, NOON + 9 * MINUTE, 9)
    assert counted.counters.unmetered(NOON + 8 * MINUTE, NOON + DAYS, 9) == []
    assert counted.counters.unmetered(NOON + 9 * MINUTE, NOON + DAYS, 9) == first


def test_requests_of_tenants_that_are_gone_trouble_nobody(connections: Connections, tenant: Tenant) -> None:
    counters = PostgresRequestCounters(connections)
    counters.close_minutes(NOON + DAYS, 99_999)
    counters.count("tenant_nobody", NOON)
    counters.count(tenant.id, NOON)
    assert counters.close_minutes(NOON + MINUTE, 9) == 2
    with connections.platform() as connection:
        connection.execute("UPDATE tenants SET status = 'deleting' WHERE id = %s", [tenant.id])
    found = counters.unmetered(NOON + MINUTE, NOON, 99)
    assert {one.tenant_id for one in found}.isdisjoint({tenant.id, "tenant_nobody"})
    assert PostgresTenantRecords(connections).delete_rows(tenant.id)["unmetered"] == 1


@pytest.mark.parametrize("seed", range(3))
def test_a_replay_in_any_order_and_from_many_sides_changes_no_total(
    counted: Counted, tenant: Tenant, platform_url: str, seed: int
) -> None:
    """Ninety days of a topic, each event with several metrics, again in other batches, twice, by four consumers."""
    rng = random.Random(seed)
    events = [
        [
            (f"{seed}-e{n}", tenant.id, "embeddings", 1.0, NOON - n * timedelta(hours=7)),
            (f"{seed}-e{n}", tenant.id, "inference.ms", rng.randrange(1000) / 8, NOON - n * timedelta(hours=7)),
            (f"{seed}-e{n}", tenant.id, "storage.bytes", float(rng.randrange(9999)), NOON - n * timedelta(hours=7)),
        ]
        for n in range(300)
    ]
    counted.usage.record([entry for event in events for entry in event])
    before = counted.usage.rows(DAY - 100 * DAYS, DAY, tenant.id, None, 9999)
    replayed = [event for event in events for _ in range(2)]
    rng.shuffle(replayed)
    batches = [[entry for event in replayed[n : n + 37] for entry in event] for n in range(0, len(replayed), 37)]
    environments = [Connections(platform_url) for _ in range(4)]
    postgres = isinstance(counted.usage, PostgresUsage)
    meters = [PostgresUsage(environment) if postgres else counted.usage for environment in environments]

    with ThreadPoolExecutor(4) as workers:
        list(workers.map(lambda n: meters[n % 4].record(batches[n]), range(len(batches))))

    assert counted.usage.rows(DAY - 100 * DAYS, DAY, tenant.id, None, 9999) == before
    assert sum(row.quantity for row in before if row.metric == "embeddings") == 300
    for environment in environments:
        environment.close()


def test_of_a_gauge_the_newest_value_of_a_day_counts_in_whatever_order_it_came(
    counted: Counted, tenant: Tenant
) -> None:
    values = [(h, float(q)) for h, q in ((0, 100), (6, 300), (11, 50), (3, 900))]
    for n, (hours, quantity) in enumerate(values):
        counted.usage.record([(f"g{n}", tenant.id, "storage.bytes", quantity, NOON + timedelta(hours=hours))])
    both = [("g9", NOON - MINUTE, 7.0), ("g8", NOON - 2 * MINUTE, 8.0)]
    counted.usage.record([(name, tenant.id, "storage.images", value, at) for name, at, value in both])

    assert total(counted, tenant, "storage.bytes") == 50
    assert total(counted, tenant, "storage.images") == 7


def test_gauges_are_carried_into_a_new_day_and_over_missed_ones(
    counted: Counted, tenant: Tenant, new_tenant: NewTenant
) -> None:
    empty = new_tenant()
    counted.usage.record([("c1", tenant.id, "storage.bytes", 70.0, NOON), ("c2", tenant.id, "searches", 1.0, NOON)])
    counted.usage.record([("c3", empty.id, "storage.bytes", 0.0, NOON)])
    assert counted.usage.carry_gauges(DAY)
    assert counted.usage.carry_gauges(DAY + DAYS)
    assert not counted.usage.carry_gauges(DAY + DAYS)
    assert not counted.usage.carry_gauges(DAY)
    counted.usage.record([("c4", tenant.id, "storage.bytes", 30.0, NOON + DAYS)])
    counted.usage.record([("c5", tenant.id, "storage.bytes", 999.0, NOON)])  # late, and no newer than what is there
    assert counted.usage.carry_gauges(DAY + 4 * DAYS)

    usage_rows = counted.usage.rows(DAY, DAY + 9 * DAYS, tenant.id, None, 99)
    levels = [(row.day - DAY).days for row in usage_rows if row.metric == "storage.bytes"]
    assert levels == [0, 1, 2, 3, 4]
    assert [row.quantity for row in usage_rows if row.metric == "storage.bytes"][1:] == [30, 30, 30, 30]
    assert [row.day for row in usage_rows if row.metric == "searches"] == [DAY]
    assert [row.day for row in counted.usage.rows(DAY, DAY + 9 * DAYS, empty.id, None, 99)] == [DAY]


def test_two_schedules_at_once_carry_once(connections: Connections, tenant: Tenant, platform_url: str) -> None:
    with connections.platform() as connection:
        connection.execute("TRUNCATE usage_days")
    environments = [Connections(platform_url) for _ in range(4)]
    with ThreadPoolExecutor(4) as workers:
        done = list(workers.map(lambda one: PostgresUsage(one).carry_gauges(date(2030, 1, 1)), environments))
    assert sorted(done) == [False] * 3 + [True]
    for environment in environments:
        environment.close()


def test_overview_and_rows_are_paged_in_order(counted: Counted, new_tenant: NewTenant) -> None:
    owners = sorted((new_tenant() for _ in range(3)), key=lambda one: one.id)
    entries = [
        (f"p{n}-{d}", owner.id, "searches", float(n + 1), NOON - d * DAYS)
        for n, owner in enumerate(owners)
        for d in range(3)
    ]
    counted.usage.record(entries)
    first, ids = DAY - DAYS, [owner.id for owner in owners]
    page = [row for row in counted.usage.overview(first, DAY, None, "", 10_000) if row.tenant_id in ids]
    assert page == [UsageRow(owner, DAY, "searches", 2.0 * (n + 1)) for n, owner in enumerate(ids)]
    one = counted.usage.overview(first, DAY, ids[1], "", 1)
    assert one == page[1:2]
    assert {row.tenant_id for row in counted.usage.overview(first, DAY, None, ids[0], 10_000)} & set(ids) == set(
        ids[1:]
    )

    rows, after = [], None
    while found := counted.usage.rows(first, DAY, None, after, 2):
        rows += found
        after = (found[-1].tenant_id, found[-1].day, found[-1].metric)
    expected = [UsageRow(owner, day, "searches", n + 1.0) for n, owner in enumerate(ids) for day in (first, DAY)]
    assert [row for row in rows if row.tenant_id in ids] == expected


def test_storage_is_measured_again_while_a_tenant_changes(
    connections: Connections, tenant: Tenant, new_tenant: NewTenant
) -> None:
    usage, every, quiet = PostgresUsage(connections), 15 * MINUTE, new_tenant()

    def due(now: datetime) -> list[str]:
        return [
            tenant_id
            for tenant_id in usage.due_for_measurement(now, every, 99_999)
            if tenant_id in (tenant.id, quiet.id)
        ]

    with connections.platform() as connection:
        connection.execute(
            "INSERT INTO tenant_sweeps (tenant_id, changed_at, swept_at, due) VALUES (%s, %s, %s, true)",
            [tenant.id, NOON, NOON],
        )
    assert due(NOON + MINUTE) == [tenant.id]
    usage.mark_measured([tenant.id], NOON + MINUTE)
    assert due(NOON + 15 * MINUTE) == []
    assert due(NOON + 17 * MINUTE) == [tenant.id]  # what changed until ten past may not have been noted
    usage.mark_measured([tenant.id], NOON + 17 * MINUTE)
    assert due(NOON + DAYS) == []
    with connections.platform() as connection:
        connection.execute("UPDATE tenant_sweeps SET changed_at = %s WHERE tenant_id = %s", [NOON + DAYS, tenant.id])
    assert due(NOON + DAYS) == [tenant.id]


def test_ids_are_forgotten_from_the_oldest(counted: Counted, tenant: Tenant) -> None:
    counted.usage.record([(f"f{n}", tenant.id, "searches", 1.0, NOON - n * DAYS) for n in range(5)])
    assert counted.usage.forget(NOON - 2 * DAYS, 1) == 1
    assert counted.usage.forget(NOON - 2 * DAYS, 9) == 1
    assert counted.usage.forget(NOON - 2 * DAYS, 9) == 0


def test_days_are_by_metric_and_within_their_bounds(counted: Counted) -> None:
    entries = [(f"d{n}", "tenant_a", "b", n + 0.5, NOON + timedelta(days=n)) for n in range(4)]
    counted.usage.record([*entries, ("other", "tenant_b", "a", 9, NOON + timedelta(days=1))])
    counted.counters.count("tenant_a", NOON + timedelta(days=2))

    usage_rows = counted.usage.days("tenant_a", DAY + DAYS, DAY + 2 * DAYS)
    requested = UsageRow("tenant_a", DAY + 2 * DAYS, "api.requests", 1)
    assert usage_rows == [requested, *(UsageRow("tenant_a", DAY + n * DAYS, "b", n + 0.5) for n in (1, 2))]
    assert counted.usage.days("tenant_nobody", date(2000, 1, 1), DAY) == []


def test_minutes_stand_long_enough_to_tell_who_uses_the_api() -> None:
    """``db/pending.py`` asks whether anybody else did in this minute or the one before."""
    assert MeterRequests.keep > 2 * MINUTE


def test_export_and_budgets_are_read_by_index(connections: Connections, platform_url: str) -> None:
    with connect(platform_url) as connection, connection.transaction(force_rollback=True):
        connection.execute(
            "INSERT INTO usage_daily (tenant_id, day, metric, quantity) "
            "SELECT 'tenant_' || t, date '2026-01-01' + d, 'm' || m, 1 FROM generate_series(1, 100) t, "
            "generate_series(0, 99) d, generate_series(1, 5) m"
        )
        connection.execute("ANALYZE usage_daily")
        plan = connection.execute(
            "EXPLAIN SELECT tenant_id, day, metric, quantity FROM usage_daily WHERE day >= '2026-01-01' AND "
            "(tenant_id, day, metric) > ('tenant_5', '2026-01-01', '') ORDER BY tenant_id, day, metric LIMIT 100"
        ).fetchall()
    text = "\n".join(str(line) for line in plan)
    assert "usage_daily_pkey" in text
    assert "Sort" not in text
