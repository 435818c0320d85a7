"""The contract of a stage, the outcomes of a record, and helpers for batches."""

import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from typing import ClassVar, Protocol

from deeplens.common.event import Event
from deeplens.errors import DependencyUnavailable, PipelineError, StageFailed
from deeplens.telemetry.tracing import about, carried


@dataclass(frozen=True, slots=True)
class Done:
    """The record needs nothing more; ``events`` follow from it. ``dropped`` says why there are none."""

    events: tuple[Event, ...] = ()
    dropped: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The record's own failure; it becomes ``deeplens.processing.failed``."""

    error: PipelineError


@dataclass(frozen=True, slots=True)
class Waiting:
    """A shared dependency is unavailable; the record stays in its topic and no attempt is counted."""

    error: DependencyUnavailable


type Outcome = Done | Failed | Waiting


class Stage[E: Event](Protocol):
    """A step of the pipeline.

    Attributes
    ----------
    name : of the step in failures, logs and the timeline.
    consumes : contract of the topic's records.
    """

    name: ClassVar[str]
    consumes: ClassVar[type[Event]]

    def __call__(self, batch: Sequence[E]) -> list[Outcome]:
        """One outcome per event, in order. Raises ``DependencyUnavailable`` when the whole batch has to wait."""


def attempt(work: Callable[[], Outcome]) -> Outcome:
    """Run the work on one record and turn whatever it raises into that record's outcome."""
    try:
        return work()
    except DependencyUnavailable as error:
        return Waiting(error)
    except PipelineError as error:
        return Failed(error)
    except Exception as error:
        return Failed(unforeseen(error))


def attempt_each[E](work: Callable[[E], Outcome], batch: Iterable[E]) -> list[Outcome]:
    """Run the work on each record of the batch, one after the other."""
    outcomes = []
    for event in batch:
        with about(event):
            outcomes.append(attempt(partial(work, event)))
    return outcomes


def unforeseen(error: Exception) -> StageFailed:
    """Return the failure that stands for an unexpected exception, with it as the cause."""
    failure = StageFailed(f"{type(error).__name__} in this stage; operators find the cause in the logs")
    failure.__cause__ = error
    return failure


def location(error: BaseException) -> str:
    """Type and place of an exception, never its message: messages may quote what tenants sent."""
    cause = error.__cause__ or error
    frames = traceback.extract_tb(cause.__traceback__)
    place = f" at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(cause).__name__}{place}"


def in_parallel[T, R](workers: Executor, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """``map`` over threads, results in order."""
    return list(workers.map(carried(work), items))


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
