"""When a failed record is tried again, and the queue that it waits in."""

from dataclasses import dataclass
from random import Random

LONGEST_HOP_SECONDS = 900
"""Maximum delay of an SQS message; a message with a longer wait is queued again until it is due."""
MAX_RETRIED_BYTES = 180_000
"""The base64 of a larger value would not fit into an SQS message of 256 KB."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off with full jitter: the n-th wait is random, up to ``first_seconds · factor^(n-1)``.

    No wait exceeds ``ceiling_seconds``; ``attempts`` includes the first one.
    """

    first_seconds: float = 2
    factor: float = 4
    ceiling_seconds: float = 3600
    attempts: int = 6

    def longest_wait(self, attempt: int) -> float:
        """The maximum wait in seconds after this attempt failed."""
        # Records carry attempt numbers; 64 exceeds every ceiling and does not overflow.
        return min(self.first_seconds * self.factor ** (min(attempt, 64) - 1), self.ceiling_seconds)


@dataclass(frozen=True, slots=True)
class RetryAfter:
    seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    reason: str


type RetryPlan = RetryAfter | GiveUp


def plan_retry(retryable: bool, attempt: int, policy: Backoff | None, rng: Random) -> RetryPlan:
    """Decide what follows a failed attempt, counted from 1; a topic without a policy is never retried."""
    if not retryable:
        return GiveUp("not retryable")
    if policy is None:
        return GiveUp("this topic is not retried")
    if attempt >= policy.attempts:
        return GiveUp("attempts exhausted")
    return RetryAfter(rng.uniform(0, policy.longest_wait(attempt)))
