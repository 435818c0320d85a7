"""Days and months of usage are those of UTC, wherever and whenever the clock is."""

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from deeplens.usage.model import (
    GAUGES,
    METRICS,
    Budget,
    BudgetState,
    BudgetWarning,
    budget_reached,
    month_after,
    month_of,
    start_of,
    usage_event,
    usage_id,
)

BERLIN, KIRITIMATI = ZoneInfo("Europe/Berlin"), timezone(timedelta(hours=14))


@pytest.mark.parametrize(
    ("now", "month"),
    [
        (datetime(2026, 11, 1, tzinfo=UTC), date(2026, 11, 1)),
        (datetime(2026, 10, 31, 23, 59, 59, 999999, tzinfo=UTC), date(2026, 10, 1)),
        (datetime(2026, 11, 1, 0, 30, tzinfo=BERLIN), date(2026, 10, 1)),
        # The night in which clocks go back has 25 hours in Berlin; its month ends once.
        (datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN), date(2026, 10, 1)),
        (datetime(2026, 4, 1, 1, 59, tzinfo=BERLIN), date(2026, 3, 1)),
        (datetime(2026, 4, 1, 2, 0, tzinfo=BERLIN), date(2026, 4, 1)),
        (datetime(2027, 1, 1, 13, 59, tzinfo=KIRITIMATI), date(2026, 12, 1)),
    ],
)
def test_a_month_begins_at_midnight_utc(now: datetime, month: date) -> None:
    assert month_of(now) == month


@pytest.mark.parametrize(
    ("month", "after"),
    [
        ("2026-11-01", "2026-12-01"),
        ("2026-12-01", "2027-01-01"),
        ("2028-01-01", "2028-02-01"),
        ("2028-02-01", "2028-03-01"),
    ],
)
def test_a_month_follows_each(month: str, after: str) -> None:
    assert month_after(date.fromisoformat(month)) == date.fromisoformat(after)


def test_ids_tell_what_is_counted_apart() -> None:
    assert usage_id("upload", "tenant_a", "img_1") == usage_id("upload", "tenant_a", "img_1")
    assert len({usage_id("upload", "tenant_a", "img_1"), usage_id("upload", "tenant_b", "img_1"), usage_id("u")}) == 3


def test_an_event_carries_several_metrics() -> None:
    event = usage_event("tenant_a", {"embeddings": 1, "inference.ms": 7.5}, start_of(date(2026, 11, 1)), "id")
    assert (event.metric, event.quantity, event.unit, event.quantities) == (
        "embeddings",
        1,
        "embeddings",
        {"inference.ms": 7.5},
    )
    assert b"eventId" not in event.to_wire()
    assert set(GAUGES) == {name for name in METRICS if name.startswith("storage.")}


@pytest.mark.parametrize(
    ("action", "percent", "until"),
    [("pause", 100, "2027-01-01T00:00:00Z"), ("pause", 80, None), ("warn", 100, None)],
)
def test_what_a_webhook_is_told_of_a_budget(action: str, percent: int, until: str | None) -> None:
    at = datetime(2026, 12, 24, tzinfo=UTC)
    one = BudgetWarning("tenant_a", "searches", date(2026, 12, 1), percent, at, 812.0, 1000.0, action)  # type: ignore[arg-type]

    notification = budget_reached(one)

    assert (notification.type, notification.event_id, notification.occurred_at) == ("usage.budget", one.event_id, at)
    assert notification.details.get("uploadsPausedUntil") == until
    assert {**notification.details, "uploadsPausedUntil": None} == {
        "metric": "searches",
        "unit": "searches",
        "month": "2026-12",
        "percent": percent,
        "used": 812.0,
        "limit": 1000.0,
        "uploadsPausedUntil": None,
    }


def test_a_budget_is_exhausted_at_its_limit() -> None:
    states = [BudgetState(Budget("searches", 1000), date(2026, 12, 1), used) for used in (999.9, 1000, 2500)]
    assert [state.exhausted for state in states] == [False, True, True]
    assert [state.percent for state in states] == [100.0, 100.0, 250.0]
