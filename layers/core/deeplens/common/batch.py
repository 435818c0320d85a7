"""Working a batch: by tenant, in parallel, past images that are gone or newer."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor

from deeplens.common.event import Event
from deeplens.common.stage import Done, Outcome


def in_parallel[T, R](workers: Executor, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """``map`` over threads, results in order."""
    return list(workers.map(work, items))


def merge(size: int, ended: dict[int, Outcome], worked: Iterable[Outcome]) -> list[Outcome]:
    """Outcomes in batch order: those that ended early at their positions, the worked ones in between."""
    remaining = iter(worked)
    return [ended[position] if position in ended else next(remaining) for position in range(size)]


def followed_by(outcomes: list[Outcome], extra: Sequence[Event]) -> list[Outcome]:
    """Attach events that belong to the batch as a whole to its first finished record."""
    for position, outcome in enumerate(outcomes):
        if extra and isinstance(outcome, Done):
            return [*outcomes[:position], Done((*outcome.events, *extra), outcome.dropped), *outcomes[position + 1 :]]
    return outcomes
