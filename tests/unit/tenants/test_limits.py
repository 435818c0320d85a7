"""What fits and what does not: tables of decisions."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from deeplens.bootstrap.container import Container
from deeplens.settings import Settings
from deeplens.tenants.limits import (
    UNLIMITED,
    Allowance,
    RequestRate,
    ResourceLimits,
    Storage,
    allowance,
    limits_of,
    minute_of,
    request_rate,
)

ONE = Storage(1, 100)
HUGE = (1 << 63) - 1
ALLOWANCES = [
    # limits, used, wanted → exceeded, images left, bytes left
    (UNLIMITED, Storage(10**9, 10**15), ONE, (), None, None),
    (ResourceLimits(max_images=3), Storage(0, 0), ONE, (), 2, None),
    (ResourceLimits(max_images=3), Storage(2, 0), ONE, (), 0, None),
    (ResourceLimits(max_images=3), Storage(3, 0), ONE, ("max_images",), 0, None),
    (ResourceLimits(max_images=3), Storage(9, 0), ONE, ("max_images",), 0, None),
    (ResourceLimits(max_bytes=300), Storage(2, 200), ONE, (), None, 0),
    (ResourceLimits(max_bytes=300), Storage(2, 201), ONE, ("max_bytes",), None, 99),
    (ResourceLimits(max_bytes=99), Storage(0, 0), ONE, ("max_bytes",), None, 99),
    (ResourceLimits(max_images=3, max_bytes=300), Storage(1, 100), ONE, (), 1, 100),
    (ResourceLimits(max_images=3, max_bytes=300), Storage(1, 250), ONE, ("max_bytes",), 2, 50),
    (ResourceLimits(max_images=3, max_bytes=300), Storage(3, 300), ONE, ("max_images", "max_bytes"), 0, 0),
    (ResourceLimits(max_images=3, max_bytes=300), Storage(9, 900), Storage(), (), 0, 0),
    (ResourceLimits(max_images=HUGE, max_bytes=HUGE), Storage(1, 100), ONE, (), HUGE - 2, HUGE - 200),
]


@pytest.mark.parametrize(("limits", "used", "wanted", "exceeded", "images_left", "bytes_left"), ALLOWANCES)
def test_allowance(
    limits: ResourceLimits,
    used: Storage,
    wanted: Storage,
    exceeded: tuple[Any, ...],
    images_left: int | None,
    bytes_left: int | None,
) -> None:
    assert allowance(limits, used, wanted) == Allowance(exceeded, images_left, bytes_left)


@pytest.mark.parametrize(
    ("own", "default", "counts"),
    [
        (None, 0, None),
        (None, 5, 5),
        (7, 5, 7),
        (7, 0, 7),
        (0, 5, None),
        (None, None, None),
    ],
)
def test_a_tenants_own_limit_counts_before_the_platforms_and_zero_lifts_it(
    own: int | None, default: int | None, counts: int | None
) -> None:
    assert ResourceLimits(max_images=own).with_defaults(ResourceLimits(max_images=default)).max_images == counts


def test_defaults_are_settings() -> None:
    settings = Settings(default_max_images=1, default_max_bytes=2, default_requests_per_minute=3)
    assert UNLIMITED.with_defaults(Container(settings).default_limits) == ResourceLimits(1, 2, 3, None)
    assert UNLIMITED.with_defaults(Container(Settings()).default_limits) == UNLIMITED


@pytest.mark.parametrize(
    ("row", "limits"),
    [
        ({}, UNLIMITED),
        ({"max_images": 5, "requests_per_minute": 0}, ResourceLimits(max_images=5, requests_per_minute=0)),
        ({"max_images": "5", "max_bytes": -1, "max_file_bytes": 1.5}, UNLIMITED),
        ({"max_images": True, "max_bytes": None, "max_file_bytes": 1 << 63}, UNLIMITED),
        ({"max_videos": 5, "max_bytes": 9}, ResourceLimits(max_bytes=9)),
    ],
)
def test_a_bad_row_never_stops_its_tenant(row: dict[str, Any], limits: ResourceLimits) -> None:
    assert limits_of(row) == limits


def test_what_is_given_reads_back() -> None:
    limits = ResourceLimits(max_images=0, max_file_bytes=9)
    assert limits.given() == {"max_images": 0, "max_file_bytes": 9}
    assert limits_of(limits.given()) == limits


@pytest.mark.parametrize("bad", [-1, 1.5, "9", True, 1 << 63])
def test_limits_that_nobody_can_mean_are_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match="max_images"):
        ResourceLimits(max_images=bad).check()


NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("limit", "requests", "after", "left", "resets", "exceeded"),
    [
        (600, 1, timedelta(), 599, 60, False),
        (600, 600, timedelta(seconds=17), 0, 43, False),
        (600, 601, timedelta(seconds=17, microseconds=1), 0, 43, True),
        (600, 9999, timedelta(seconds=59, microseconds=999_999), 0, 1, True),
        (1, 1, timedelta(seconds=60), 0, 60, False),
    ],
)
def test_request_rate(limit: int, requests: int, after: timedelta, left: int, resets: int, exceeded: bool) -> None:
    rate = request_rate(limit, requests, NOON + after)
    assert rate == RequestRate(limit, requests, resets)
    assert (rate.left, rate.exceeded) == (left, exceeded)


@pytest.mark.parametrize("seconds", [0, 0.000001, 30, 59.999999])
def test_a_minute_begins_with_its_border(seconds: float) -> None:
    assert minute_of(NOON + timedelta(seconds=seconds)) == NOON
    assert minute_of(NOON - timedelta(microseconds=1)) == NOON - timedelta(minutes=1)
