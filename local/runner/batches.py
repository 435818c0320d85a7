"""Decide what follows an invocation of a batch, as Lambda does for Kafka event sources. All functions are pure.

https://docs.aws.amazon.com/lambda/latest/dg/kafka-retry-configurations.html
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class Positioned(Protocol):
    """The fields of a record that decisions depend on."""

    @property
    def topic_partition(self) -> str: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp_ms(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits of an event source; -1 means no limit.

    Attributes
    ----------
    partial : responses name the records that failed (``ReportBatchItemFailures``).
    """

    partial: bool
    bisect: bool
    max_retry_attempts: int
    max_record_age_seconds: int


@dataclass(frozen=True, slots=True)
class Batch[R: Positioned]:
    """Records of one invocation. ``attempts`` counts the failed ones since any of its records succeeded."""

    records: tuple[R, ...]
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Decision[R: Positioned]:
    """The batches to invoke next, in this order, and the records to send to the failure destination."""

    retries: tuple[Batch[R], ...] = ()
    given_up: tuple[R, ...] = ()


def decide[R: Positioned](batch: Batch[R], failed: bool, response: Any, policy: Policy, now_ms: int) -> Decision[R]:
    """Decide which records to retry and which to give up after an invocation.

    Parameters
    ----------
    failed : the function raised, timed out or crashed.
    response : ``batchItemFailures`` names the lowest failed offset of each partition. A response that names anything
        else fails the whole batch, as on Lambda.
    """
    remaining = batch.records if failed else remaining_records(batch.records, response) if policy.partial else ()
    fresh = tuple(r for r in remaining if not _too_old(r, policy, now_ms))
    expired = tuple(r for r in remaining if _too_old(r, policy, now_ms))
    if not fresh:
        return Decision(given_up=expired)
    if failed and policy.bisect and len(fresh) > 1:
        # Splitting does not count as an attempt, so a record that ends up alone still has all of its attempts.
        middle = len(fresh) // 2
        return Decision((Batch(fresh[:middle], batch.attempts), Batch(fresh[middle:], batch.attempts)), expired)
    attempts = 1 if len(remaining) < len(batch.records) else batch.attempts + 1
    if 0 <= policy.max_retry_attempts < attempts:
        return Decision(given_up=(*expired, *fresh))
    return Decision((Batch(fresh, attempts),), expired)


def remaining_records[R: Positioned](records: Sequence[R], response: Any) -> tuple[R, ...]:
    """Return the records at and after the first failed offset of their partition; all for an invalid response."""
    lowest = first_failures(records, response)
    if lowest is None:
        return tuple(records)
    return tuple(r for r in records if r.topic_partition in lowest and r.offset >= lowest[r.topic_partition])


def first_failures(records: Sequence[Positioned], response: Any) -> dict[str, int] | None:
    """Return the lowest failed offset of each partition; None if the response names a record outside the batch."""
    if not response:
        return {}
    known = {(r.topic_partition, r.offset) for r in records}
    lowest: dict[str, int] = {}
    try:
        for failure in response["batchItemFailures"] or []:
            identifier = failure["itemIdentifier"]
            partition, offset = identifier["partition"], int(identifier["offset"])
            if (partition, offset) not in known:
                return None
            lowest[partition] = min(offset, lowest.get(partition, offset))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return lowest


def committable(records: Sequence[Positioned], open_batches: Sequence[Batch[Any]]) -> dict[str, int]:
    """Return the offset to commit for each partition of ``records`` in which at least one record is finished."""
    still_open: dict[str, int] = {}
    for batch in open_batches:
        for record in batch.records:
            partition = record.topic_partition
            still_open[partition] = min(record.offset, still_open.get(partition, record.offset))
    done: dict[str, int] = {}
    for record in records:
        partition = record.topic_partition
        if record.offset < still_open.get(partition, record.offset + 1):
            done[partition] = max(record.offset + 1, done.get(partition, 0))
    return done


def backoff_seconds(attempts: int) -> float:
    """Return the pause before a batch is retried: 0.2 s at first, then doubled, at most 5 s."""
    return float(min(5.0, 0.1 * 2 ** min(attempts, 10)))


def _too_old(record: Positioned, policy: Policy, now_ms: int) -> bool:
    return 0 <= policy.max_record_age_seconds * 1000 < now_ms - record.timestamp_ms
