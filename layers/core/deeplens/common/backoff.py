"""When a failed record is tried again, and the queue that it waits in."""

from dataclasses import dataclass
from random import Random

LONGEST_HOP_SECONDS = 900
"""SQS delays a message by so much at the most; who waits longer is queued again until it is due."""
MAX_RETRIED_BYTES = 180_000
"""Base64 of a value that still fits into an SQS message of 256 KB with what goes with it."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off with full jitter: the n-th wait is anything up to ``first_seconds · factor^(n-1)``.

    Attributes
    ----------
    ceiling_seconds : no wait is longer.
    attempts : in all, the first one included.
    """

    first_seconds: float = 2
    factor: float = 4
    ceiling_seconds: float = 3600
    attempts: int = 6

    def longest_wait(self, attempt: int) -> float:
        """The longest that may pass, in seconds, after ``attempt`` has failed."""
        # Attempt numbers come with records; 64 is far beyond every ceiling and does not overflow.
        return min(self.first_seconds * self.factor ** (min(attempt, 64) - 1), self.ceiling_seconds)


@dataclass(frozen=True, slots=True)
class RetryAfter:
    seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    reason: str


type RetryPlan = RetryAfter | GiveUp


def plan_retry(retryable: bool, attempt: int, policy: Backoff | None, rng: Random) -> RetryPlan:
    """What follows when an attempt has failed.

    Parameters
    ----------
    retryable : whether the same event may succeed later.
    attempt : the one that failed, counted from 1.
    policy : of the record's topic; None where nothing is ever tried again.
    rng : its jitter.
    """
    if not retryable:
        return GiveUp("not retryable")
    if policy is None:
        return GiveUp("this topic is not retried")
    if attempt >= policy.attempts:
        return GiveUp("attempts exhausted")
    return RetryAfter(rng.uniform(0, policy.longest_wait(attempt)))
