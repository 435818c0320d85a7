"""Gauges: what waits and since when, and at most fifty tenants."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

import pytest
from deeplens.levels.measure import DatabaseLoad, MeasureLevels, PendingLevel, Queue, TenantLevel, largest
from deeplens.telemetry import metrics
from deeplens.telemetry.instruments import MAX_TENANTS
from deeplens.telemetry.metrics import Meter, Point

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


class OneOfEach:
    """``Levels`` with one of each."""

    def pending(self) -> list[PendingLevel]:
        return [PendingLevel("tenant_a", 50, 7, NOW - timedelta(seconds=90))]

    def open_dead_letters(self) -> list[TenantLevel]:
        return [TenantLevel("tenant_a", 2), TenantLevel("", 1)]

    def due_webhooks(self, now: datetime) -> Queue:
        return Queue(3, now - timedelta(seconds=20))

    def usage(self, day: date) -> list[TenantLevel]:
        assert day == NOW.date()
        return [TenantLevel("tenant_a", 5, "searches"), TenantLevel("tenant_a", 9, "storage.bytes")]

    def connections(self) -> DatabaseLoad:
        return DatabaseLoad(4, 11, 100)


class Empty(OneOfEach):
    def pending(self) -> list[PendingLevel]:
        return []

    def open_dead_letters(self) -> list[TenantLevel]:
        return []

    def due_webhooks(self, now: datetime) -> Queue:
        return Queue(0, None)

    def usage(self, day: date) -> list[TenantLevel]:
        return []


class At:
    def now(self) -> datetime:
        return NOW


@pytest.fixture
def found() -> Iterator[dict[tuple[str, ...], float]]:
    gauges: dict[tuple[str, ...], float] = {}

    def export(points: Sequence[Point], _since: int, _until: int, /) -> None:
        gauges.update({(point.instrument.name, *point.labels): point.value for point in points})

    metrics.configure(Meter([export]))
    yield gauges
    metrics.configure(None)


def test_each_level_becomes_a_gauge(found: dict[tuple[str, ...], float]) -> None:
    assert MeasureLevels(OneOfEach(), 200, At())() == []  # type: ignore[arg-type]
    metrics.flush()
    assert found == {
        ("deeplens.images.pending.age",): 90,
        ("deeplens.images.pending", "tenant_a", "in_flight"): 50,
        ("deeplens.images.pending", "tenant_a", "waiting"): 7,
        ("deeplens.window.use", "tenant_a"): 0.25,
        ("deeplens.dead_letters.open", "tenant_a"): 2,
        ("deeplens.dead_letters.open", ""): 1,
        ("deeplens.webhooks.waiting",): 3,
        ("deeplens.webhooks.waiting.age",): 20,
        ("deeplens.tenant.usage", "tenant_a", "searches"): 5,
        ("deeplens.tenant.usage", "tenant_a", "storage.bytes"): 9,
        ("deeplens.database.connections", "platform"): 4,
        ("deeplens.database.connections", "tenants"): 11,
        ("deeplens.database.connections.limit",): 100,
    }


def test_where_nothing_waits_gauges_are_zero_and_not_missing(found: dict[tuple[str, ...], float]) -> None:
    MeasureLevels(Empty(), 200, At())()  # type: ignore[arg-type]
    metrics.flush()
    assert found[("deeplens.images.pending.age",)] == found["deeplens.dead_letters.open", ""] == 0


def test_only_the_largest_tenants_are_named() -> None:
    levels = [TenantLevel(f"tenant_{number}", number) for number in range(MAX_TENANTS + 3)]
    shown = list(largest(levels))
    assert [level.tenant_id for level in shown[:2]] == [f"tenant_{MAX_TENANTS + 2}", f"tenant_{MAX_TENANTS + 1}"]
    assert shown[MAX_TENANTS:] == [TenantLevel("_other", 0 + 1 + 2)]
