"""Old minutes of request counters: moved to their day once a day has passed."""

from datetime import UTC, datetime, timedelta

from deeplens.metering import DayTotal
from deeplens.pipeline.fold_requests import FoldRequests

from tests.fakes.db import FakeRequestCounters

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


class Clock:
    def now(self) -> datetime:
        return NOON


def test_minutes_of_more_than_a_day_ago_are_folded_and_nothing_is_published() -> None:
    counters = FakeRequestCounters()
    for age in (timedelta(days=1, minutes=1), timedelta(days=1), timedelta(0)):
        counters.count("tenant_a", NOON - age)

    assert FoldRequests(counters, Clock())() == []

    assert sorted(minute for _, minute in counters.minutes) == [NOON - timedelta(days=1), NOON]
    yesterday = (NOON - timedelta(days=1)).date()
    assert counters.usage.days("tenant_a", yesterday, yesterday) == [DayTotal("api.requests", yesterday, 2)]
