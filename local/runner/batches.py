"""Decide what follows an invocation of a batch, with Lambda's semantics for Kafka event sources; pure functions.

https://docs.aws.amazon.com/lambda/latest/dg/kafka-retry-configurations.html
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class Positioned(Protocol):
    """A record, as far as decisions need it."""

    @property
    def topic_partition(self) -> str: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp_ms(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits of an event source; -1 means none. ``partial`` says whether answers name the records that failed."""

    partial: bool
    bisect: bool
    max_retry_attempts: int
    max_record_age_seconds: int


@dataclass(frozen=True, slots=True)
class Batch[R: Positioned]:
    """Records of one invocation, and the number of failed attempts without progress."""

    records: tuple[R, ...]
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Decision[R: Positioned]:
    """``again`` is invoked next, in order; ``given_up`` goes to the failure destination."""

    again: tuple[Batch[R], ...] = ()
    given_up: tuple[R, ...] = ()


def decide[R: Positioned](batch: Batch[R], failed: bool, response: Any, policy: Policy, now_ms: int) -> Decision[R]:
    """What to do after an invocation.

    Parameters
    ----------
    failed : the function raised, timed out or crashed.
    response : its answer; ``batchItemFailures`` names per partition the lowest offset that has to come again. An
        answer that names something else fails the whole batch, as Lambda treats it.
    """
    remaining = batch.records if failed else remaining_records(batch.records, response) if policy.partial else ()
    fresh = tuple(r for r in remaining if not _too_old(r, policy, now_ms))
    expired = tuple(r for r in remaining if _too_old(r, policy, now_ms))
    if not fresh:
        return Decision(given_up=expired)
    if failed and policy.bisect and len(fresh) > 1:
        # Splitting costs no attempt: a record that is alone at last has all of its own.
        middle = len(fresh) // 2
        return Decision((Batch(fresh[:middle], batch.attempts), Batch(fresh[middle:], batch.attempts)), expired)
    attempts = 1 if len(remaining) < len(batch.records) else batch.attempts + 1
    if 0 <= policy.max_retry_attempts < attempts:
        return Decision(given_up=(*expired, *fresh))
    return Decision((Batch(fresh, attempts),), expired)


def remaining_records[R: Positioned](records: Sequence[R], response: Any) -> tuple[R, ...]:
    """Records at and after the first failed offset of their partition; all of them for an unreadable answer."""
    lowest = first_failures(records, response)
    if lowest is None:
        return tuple(records)
    return tuple(r for r in records if r.topic_partition in lowest and r.offset >= lowest[r.topic_partition])


def first_failures(records: Sequence[Positioned], response: Any) -> dict[str, int] | None:
    """Lowest failed offset by partition; None when the answer names what was not in the batch."""
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
    """Next offset to read by partition, for partitions of ``records`` with something finished."""
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
    """Pause before a batch comes again: 0.2 s, doubled, at most 5 s."""
    return float(min(5.0, 0.1 * 2 ** min(attempts, 10)))


def _too_old(record: Positioned, policy: Policy, now_ms: int) -> bool:
    return 0 <= policy.max_record_age_seconds * 1000 < now_ms - record.timestamp_ms
