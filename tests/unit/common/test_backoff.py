"""When a failed record is tried again, as a table and as rules that hold for every policy."""

from random import Random

import pytest
from deeplens.common.backoff import Backoff, GiveUp, RetryAfter, RetryPlan, plan_retry
from deeplens.events.topics import BACKGROUND_RETRY, INTERACTIVE_RETRY, RETRIES
from hypothesis import given
from hypothesis import strategies as st

POLICY = Backoff(first_seconds=2, factor=4, ceiling_seconds=100, attempts=6)


class Longest(Random):
    """Jitter that always takes the longest wait."""

    def uniform(self, a: float, b: float) -> float:
        return b


@pytest.mark.parametrize(
    ("retryable", "attempt", "policy", "expected"),
    [
        (True, 1, POLICY, RetryAfter(2)),
        (True, 2, POLICY, RetryAfter(8)),
        (True, 3, POLICY, RetryAfter(32)),
        (True, 4, POLICY, RetryAfter(100)),
        (True, 5, POLICY, RetryAfter(100)),
        (True, 6, POLICY, GiveUp("attempts exhausted")),
        (True, 99_999, POLICY, GiveUp("attempts exhausted")),
        (True, 1, Backoff(attempts=1), GiveUp("attempts exhausted")),
        (True, 1, None, GiveUp("this topic is not retried")),
        (False, 1, POLICY, GiveUp("not retryable")),
        (False, 1, None, GiveUp("not retryable")),
        (True, 99_999, Backoff(2, 4, 900, attempts=100_000), RetryAfter(900)),
    ],
)
def test_plan_retry(retryable: bool, attempt: int, policy: Backoff | None, expected: RetryPlan) -> None:
    assert plan_retry(retryable, attempt, policy, Longest()) == expected


POLICIES = st.builds(
    Backoff,
    first_seconds=st.floats(0.001, 3600),
    factor=st.floats(1, 10),
    ceiling_seconds=st.floats(0.001, 86_400),
    attempts=st.integers(1, 50),
)


@given(policy=POLICIES, attempt=st.integers(1, 99_999), seed=st.integers(0, 1000))
def test_a_wait_is_never_negative_nor_beyond_the_ceiling(policy: Backoff, attempt: int, seed: int) -> None:
    plan = plan_retry(True, attempt, policy, Random(seed))
    assert isinstance(plan, GiveUp) == (attempt >= policy.attempts)
    if isinstance(plan, RetryAfter):
        assert 0 <= plan.seconds <= policy.longest_wait(attempt) <= policy.ceiling_seconds


@given(policy=POLICIES, attempt=st.integers(1, 100))
def test_a_later_attempt_never_waits_for_less(policy: Backoff, attempt: int) -> None:
    assert policy.longest_wait(attempt) <= policy.longest_wait(attempt + 1)


def test_many_that_fail_together_do_not_come_back_together() -> None:
    rng = Random(1)
    plans = [plan_retry(True, 3, POLICY, rng) for _ in range(1000)]
    waits = sorted(plan.seconds for plan in plans if isinstance(plan, RetryAfter))
    assert waits[100] < 0.15 * 32
    assert waits[900] > 0.85 * 32


@pytest.mark.parametrize(
    ("policy", "minutes"), [(INTERACTIVE_RETRY, 12), (BACKGROUND_RETRY, 14 * 60)], ids=["waited for", "background"]
)
def test_the_topics_policies_end_when_they_say(policy: Backoff, minutes: int) -> None:
    longest = sum(policy.longest_wait(attempt) for attempt in range(1, policy.attempts))
    assert 0.75 * minutes * 60 < longest < minutes * 60
    assert set(RETRIES.values()) == {INTERACTIVE_RETRY, BACKGROUND_RETRY}
