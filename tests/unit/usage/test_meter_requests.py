"""Ended minutes of request counters: one event per tenant, kept until it was metered."""

from datetime import UTC, datetime, timedelta

from deeplens.usage.meter import Meter
from deeplens.usage.model import UsageRow
from deeplens.usage.tick import MeterRequests

from tests.fakes.db import FakeDirectory, FakeRequestCounters
from tests.harness.api import tenant

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
TODAY = NOON.date()


class Clock:
    at = NOON

    def now(self) -> datetime:
        return self.at


def test_minutes_that_ended_are_one_event_per_tenant_with_all_they_count() -> None:
    counters, clock = FakeRequestCounters(), Clock()
    for age in (timedelta(minutes=9), timedelta(minutes=4), timedelta(minutes=3), timedelta(0)):
        counters.count("tenant_a", NOON - age)
    counters.add("tenant_a", NOON - timedelta(minutes=4), searches=2, egress_bytes=700)
    counters.count("tenant_b", NOON - timedelta(minutes=5))

    events = MeterRequests(counters, clock)()

    found = {event.tenant_id: (event.metric, event.quantity, event.quantities) for event in events}
    assert found == {
        "tenant_a": ("api.requests", 2, {"searches": 2, "egress.bytes": 700}),
        "tenant_b": ("api.requests", 1, None),
    }
    assert sorted(minute for _, minute in counters.minutes) == [NOON - timedelta(minutes=3), NOON]
    assert counters.usage.days("tenant_a", TODAY, TODAY)[0] == UsageRow("tenant_a", TODAY, "api.requests", 4)


def test_what_was_lost_on_its_way_is_sent_again_and_counts_once() -> None:
    counters, clock = FakeRequestCounters(), Clock()
    meter = Meter(FakeDirectory(tenant("a")), counters.usage, clock)
    job = MeterRequests(counters, clock)
    counters.count("tenant_a", NOON - timedelta(hours=1))

    (lost,) = job()
    assert job() == []
    clock.at += timedelta(minutes=15)
    (again,) = job()
    for event in (lost, again, again):
        meter([event])

    assert again.event_id == lost.event_id
    assert job() == []
    clock.at += timedelta(hours=1)
    assert job() == []
    assert counters.usage.days("tenant_a", TODAY, TODAY) == [UsageRow("tenant_a", TODAY, "api.requests", 1)]


def test_minutes_on_both_sides_of_midnight_are_two_events() -> None:
    counters, clock = FakeRequestCounters(), Clock()
    midnight = datetime(2026, 12, 1, tzinfo=UTC)
    clock.at = midnight + timedelta(minutes=30)
    for at in (midnight - timedelta(seconds=1), midnight, midnight + timedelta(minutes=1)):
        counters.count("tenant_a", at)

    events = MeterRequests(counters, clock)()

    assert [(event.occurred_at.date().isoformat(), event.quantity) for event in events] == [
        ("2026-11-30", 1),
        ("2026-12-01", 2),
    ]
