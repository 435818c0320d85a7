"""A short chaos run loses no photo and makes none twice."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from local.chaos.photos import is_broken
from local.chaos.run import Options, chaos_stack, strike_and_check
from local.stack.stack import Stack
from tests.e2e.conftest import one_start_at_a_time

SHORT = Options(photos=30, clients=3, seconds=8, seed=5, faults=0.005, settle_seconds=150)
LONG = Options(photos=400, clients=6, seconds=80, seed=8, faults=0.005, settle_seconds=240)


@pytest.fixture(scope="module")
def chaos() -> Iterator[Stack]:
    """A stack of its own: whatever is struck here belongs to no other test."""
    with ExitStack() as running:
        with one_start_at_a_time():
            stack = running.enter_context(chaos_stack(SHORT))
        yield stack


@pytest.mark.parametrize(
    ("options", "strikes", "restarts"), [(SHORT, 3, 1), pytest.param(LONG, 25, 3, marks=pytest.mark.long)]
)
def test_nothing_is_lost_stuck_or_made_twice_whatever_dies(
    chaos: Stack, options: Options, strikes: int, restarts: int
) -> None:
    outcome = strike_and_check(chaos, options)

    assert outcome.violations == [], f"again: {options.command}"
    figures, broken = outcome.figures, sum(map(is_broken, range(options.photos)))
    ended = (figures["accepted"], figures["completed"], figures["failed_with_reason"])
    assert ended == (options.photos, options.photos - broken, broken)
    assert figures["kills"] + figures["freezes"] >= strikes
    assert figures["parts_restarted"] >= restarts
