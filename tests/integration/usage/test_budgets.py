"""Budgets, of the fake as of PostgreSQL: one query over all tenants, each threshold noted once per month."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pytest
from deeplens.database.connections import Connections
from deeplens.tenants.directory import PostgresDirectory
from deeplens.tenants.model import IngestionPause, Tenant
from deeplens.tenants.ports import TenantDirectory
from deeplens.tenants.postgres import PostgresTenantRecords
from deeplens.usage.model import Action, Budget, Budgets, UsageMeter
from deeplens.usage.postgres import PostgresBudgets, PostgresUsage
from deeplens.webhooks.model import Webhook, Webhooks
from deeplens.webhooks.postgres import PostgresWebhooks

from tests.fakes.db import FakeDirectory
from tests.fakes.usage import FakeBudgets, FakeUsage
from tests.fakes.webhooks import FakeWebhooks

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MONTH, NEXT = date(2026, 11, 1), date(2026, 12, 1)
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)

type NewTenant = Callable[[], Tenant]


@dataclass
class Kept:
    budgets: Budgets
    usage: UsageMeter
    webhooks: Webhooks
    tenants: TenantDirectory

    def use(self, tenant: Tenant, quantity: float, at: datetime = NOON, metric: str = "searches") -> None:
        event_id = f"{tenant.id}/{metric}/{at.isoformat()}/{quantity}"
        self.usage.record([(event_id, tenant.id, metric, quantity, at)])

    def listen(self, tenant: Tenant) -> None:
        self.webhooks.save(Webhook(f"whk_{tenant.id}", tenant.id, "https://example.com", ("usage.budget",), NOON))

    def unnotified(self, tenant: Tenant, month: date = MONTH) -> list[int]:
        return [warning.percent for warning in self.budgets.unnotified(month, 99_999) if warning.tenant_id == tenant.id]

    def paused(self, tenant: Tenant) -> IngestionPause | None:
        return self.tenants.get(tenant.id, fresh=True).paused


@pytest.fixture(params=["fake", "postgres"])
def kept(request: pytest.FixtureRequest, tenant: Tenant, other: Tenant) -> Kept:
    if request.param == "fake":
        tenants, usage = FakeDirectory(tenant, other), FakeUsage()
        return Kept(FakeBudgets(usage, tenants), usage, FakeWebhooks(tenants), tenants)
    connections: Connections = request.getfixturevalue("connections")
    with connections.platform() as connection:
        connection.execute("SET TIME ZONE 'Asia/Tokyo'")
    directory = PostgresDirectory(connections, "")
    return Kept(PostgresBudgets(connections), PostgresUsage(connections), PostgresWebhooks(connections), directory)


@pytest.fixture
def other(new_tenant: NewTenant) -> Tenant:
    return new_tenant()


def budget(limit: float = 10, action: Action = "pause", metric: str = "searches") -> Budget:
    return Budget(metric, limit, (50, 80), action)


def test_budgets_are_replaced_as_a_whole(kept: Kept, tenant: Tenant, other: Tenant) -> None:
    kept.budgets.save(tenant.id, [budget(0.5), budget(1e15, metric="egress.bytes")], MONTH)
    kept.budgets.save(other.id, [budget(7)], MONTH)
    assert [warning.budget for warning in kept.budgets.of_tenant(tenant.id, MONTH)] == [
        budget(1e15, metric="egress.bytes"),
        budget(0.5),
    ]
    kept.budgets.save(tenant.id, [], MONTH)
    assert kept.budgets.of_tenant(tenant.id, MONTH) == []
    assert [warning.budget for warning in kept.budgets.of_tenant(other.id, MONTH)] == [budget(7)]


def test_only_its_own_month_and_tenant_use_a_budget(kept: Kept, tenant: Tenant, other: Tenant) -> None:
    """The borders are those of UTC, although the session's midnight is another."""
    kept.budgets.save(tenant.id, [budget()], MONTH)
    instant = timedelta(microseconds=1)
    first = datetime(2026, 11, 1, tzinfo=UTC)
    for at, quantity in ((first - instant, 100), (first, 1), (DECEMBER - instant, 2), (DECEMBER, 200)):
        kept.use(tenant, quantity, at)
    kept.use(other, 50)
    (state,) = kept.budgets.of_tenant(tenant.id, MONTH)
    assert (state.used, state.exhausted) == (3, False)
    assert kept.budgets.of_tenant(tenant.id, NEXT)[0].used == 200


def test_a_threshold_is_noted_and_told_once_per_month(kept: Kept, tenant: Tenant) -> None:
    kept.listen(tenant)
    kept.budgets.save(tenant.id, [budget()], MONTH)
    kept.use(tenant, 4.9)
    kept.budgets.evaluate(NOON, MONTH)
    assert kept.unnotified(tenant) == []
    kept.use(tenant, 3.1)
    for minutes in range(3):
        kept.budgets.evaluate(NOON + timedelta(minutes=minutes), MONTH)
    assert kept.unnotified(tenant) == [50, 80]
    warnings = [warning for warning in kept.budgets.unnotified(MONTH, 99_999) if warning.tenant_id == tenant.id]
    assert [(warning.used, warning.limit, warning.reached_at) for warning in warnings] == [(8, 10, NOON)] * 2
    kept.budgets.mark_notified(warnings, NOON)
    kept.budgets.mark_notified([], NOON)
    kept.use(tenant, 5)
    kept.budgets.evaluate(NOON, MONTH)
    assert kept.unnotified(tenant) == [100]
    kept.use(tenant, 6, DECEMBER)
    kept.budgets.evaluate(DECEMBER, NEXT)
    assert kept.unnotified(tenant, NEXT) == [50]
    kept.budgets.evaluate(DECEMBER, MONTH)
    assert kept.unnotified(tenant) == [100]


def test_nobody_is_told_who_does_not_listen(kept: Kept, tenant: Tenant) -> None:
    kept.budgets.save(tenant.id, [budget()], MONTH)
    kept.use(tenant, 9)
    kept.budgets.evaluate(NOON, MONTH)
    assert kept.unnotified(tenant) == []
    kept.listen(tenant)
    assert kept.unnotified(tenant) == [50, 80]


def test_uploads_pause_at_the_limit_and_go_on_in_the_next_month(kept: Kept, tenant: Tenant, other: Tenant) -> None:
    kept.budgets.save(tenant.id, [budget(), budget(action="warn", metric="egress.bytes")], MONTH)
    kept.budgets.save(other.id, [budget(action="warn")], MONTH)
    for owner in (tenant, other):
        kept.use(owner, 9.99)
    kept.use(tenant, 50, metric="egress.bytes")
    kept.budgets.evaluate(NOON, MONTH)
    assert [kept.paused(owner) for owner in (tenant, other)] == [None, None]
    for one in (tenant, other):
        kept.use(one, 0.02)
    kept.budgets.evaluate(NOON, MONTH)
    assert [kept.paused(owner) for owner in (tenant, other)] == [IngestionPause("searches", DECEMBER), None]
    kept.budgets.evaluate(DECEMBER, NEXT)
    assert kept.paused(tenant) is None


@pytest.mark.parametrize("change", [[], [budget(11)], [budget(action="warn")]], ids=["removed", "raised", "warns"])
def test_a_changed_budget_lets_uploads_go_on_at_once(kept: Kept, tenant: Tenant, change: list[Budget]) -> None:
    kept.budgets.save(tenant.id, [budget()], MONTH)
    kept.use(tenant, 10)
    kept.budgets.evaluate(NOON, MONTH, tenant.id)
    assert kept.paused(tenant)
    kept.budgets.save(tenant.id, change, MONTH)
    kept.budgets.evaluate(NOON, MONTH, tenant.id)
    assert kept.paused(tenant) is None


def test_a_raised_budget_is_told_of_anew_and_under_another_id(kept: Kept, tenant: Tenant) -> None:
    kept.listen(tenant)
    kept.budgets.save(tenant.id, [budget()], MONTH)
    kept.use(tenant, 8)
    kept.budgets.evaluate(NOON, MONTH)
    before = [warning for warning in kept.budgets.unnotified(MONTH, 99_999) if warning.tenant_id == tenant.id]
    kept.budgets.mark_notified(before, NOON)
    kept.budgets.save(tenant.id, [budget()], MONTH)  # nothing changed
    kept.budgets.evaluate(NOON, MONTH)
    assert kept.unnotified(tenant) == []
    kept.budgets.save(tenant.id, [budget(16)], MONTH)
    kept.budgets.evaluate(NOON + timedelta(minutes=1), MONTH)
    after = [warning for warning in kept.budgets.unnotified(MONTH, 99_999) if warning.tenant_id == tenant.id]
    assert [warning.percent for warning in after] == [50]
    assert {warning.event_id for warning in after}.isdisjoint({warning.event_id for warning in before})


def test_of_a_gauge_what_stands_now_is_used(kept: Kept, tenant: Tenant) -> None:
    kept.budgets.save(tenant.id, [budget(100, metric="storage.bytes")], MONTH)
    for days, quantity in ((2, 90), (1, 120), (0, 40)):
        kept.use(tenant, quantity, NOON - timedelta(days=days), "storage.bytes")
    assert kept.budgets.of_tenant(tenant.id, MONTH)[0].used == 40
    kept.budgets.evaluate(NOON, MONTH)
    assert kept.paused(tenant) is None


def test_many_schedules_at_once_note_once(connections: Connections, platform_url: str, new_tenant: NewTenant) -> None:
    owners = [new_tenant() for _ in range(3)]
    usage, budgets = PostgresUsage(connections), PostgresBudgets(connections)
    for owner in owners:
        budgets.save(owner.id, [budget()], MONTH)
        usage.record([(f"many/{owner.id}", owner.id, "searches", 12.0, NOON)])
    environments = [Connections(platform_url) for _ in range(8)]
    with ThreadPoolExecutor(8) as workers:
        list(workers.map(lambda one: PostgresBudgets(one).evaluate(NOON, MONTH), environments * 3))
    with connections.platform() as connection:
        found = connection.execute(
            "SELECT tenant_id, percent FROM usage_budget_warnings WHERE tenant_id = ANY(%s)", [[o.id for o in owners]]
        ).fetchall()
    assert len(found) == 9
    for environment in environments:
        environment.close()


def test_a_deleted_tenants_budgets_are_erased(connections: Connections, tenant: Tenant) -> None:
    budgets = PostgresBudgets(connections)
    budgets.save(tenant.id, [budget()], MONTH)
    PostgresUsage(connections).record([(f"gone/{tenant.id}", tenant.id, "searches", 12.0, NOON)])
    budgets.evaluate(NOON, MONTH)
    erased = PostgresTenantRecords(connections).delete_rows(tenant.id)
    assert (erased["budgets"], erased["budgetWarnings"]) == (1, 3)
