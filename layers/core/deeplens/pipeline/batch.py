"""Working a batch: by tenant, in parallel, past images that are gone or newer."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from typing import Protocol

from deeplens.contracts.events import Event, ImageEvent
from deeplens.domain import ImageRecord, Step, Tenant, Tombstone
from deeplens.errors import DependencyUnavailable, ImageNotFound, PipelineError
from deeplens.pipeline.outcome import Done, Failed, Outcome, Waiting
from deeplens.ports import TenantDirectory


class OfTenant(Protocol):
    @property
    def tenant_id(self) -> str: ...


def by_tenant[E: OfTenant](
    batch: Sequence[E],
    tenants: TenantDirectory,
    work: Callable[[Tenant, Sequence[E]], list[Outcome]],
    *,
    fresh: bool = False,
) -> list[Outcome]:
    """Run ``work`` once per tenant; a tenant that fails or waits leaves the others alone.

    ``fresh`` reads the tenants' rows instead of remembering them. Returns outcomes in the order of ``batch``.
    """
    positions: dict[str, list[int]] = {}
    for position, event in enumerate(batch):
        positions.setdefault(event.tenant_id, []).append(position)
    outcomes: dict[int, Outcome] = {}
    for tenant_id, members in positions.items():
        events = [batch[position] for position in members]
        outcomes.update(zip(members, _tenant_outcomes(tenant_id, events, tenants, work, fresh), strict=True))
    return [outcomes[position] for position in range(len(batch))]


def _tenant_outcomes[E: OfTenant](
    tenant_id: str,
    events: Sequence[E],
    tenants: TenantDirectory,
    work: Callable[[Tenant, Sequence[E]], list[Outcome]],
    fresh: bool,
) -> list[Outcome]:
    try:
        return work(tenants.get(tenant_id, fresh=fresh), events)
    except DependencyUnavailable as error:
        return [Waiting(error)] * len(events)
    except PipelineError as error:
        return [Failed(error)] * len(events)


def in_parallel[T, R](workers: Executor, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """``map`` over threads, results in order."""
    return list(workers.map(work, items))


def current(
    event: ImageEvent, found: ImageRecord | Tombstone | None, *, revives: bool = False
) -> ImageRecord | Outcome:
    """The row that an event may still change, or the outcome that ends the event here.

    An image that failed is worked on in a newer generation only, unless the event ``revives`` it.
    """
    if found is None:
        return Failed(ImageNotFound(f"no image {event.image_id}"))
    if isinstance(found, Tombstone):
        return Done(dropped="deleted")
    if found.generation > event.effective_generation:
        return Done(dropped="older generation")
    if found.step is Step.FAILED and found.generation == event.effective_generation and not revives:
        return Done(dropped="failed")
    return found


def split_current[E: ImageEvent](
    batch: Sequence[E], found: dict[str, ImageRecord | Tombstone], *, revives: bool = False
) -> tuple[list[tuple[E, ImageRecord]], dict[int, Outcome]]:
    """Events to work on with their rows, and the outcomes of the others by position."""
    work: list[tuple[E, ImageRecord]] = []
    ended: dict[int, Outcome] = {}
    for position, event in enumerate(batch):
        row = current(event, found.get(event.image_id), revives=revives)
        if isinstance(row, ImageRecord):
            work.append((event, row))
        else:
            ended[position] = row
    return work, ended


def merge(size: int, ended: dict[int, Outcome], worked: Iterable[Outcome]) -> list[Outcome]:
    """Outcomes in batch order: those that ended early at their positions, the worked ones in between."""
    remaining = iter(worked)
    return [ended[position] if position in ended else next(remaining) for position in range(size)]


def without_buried(outcomes: Sequence[Outcome], events: Sequence[ImageEvent], buried: set[str]) -> list[Outcome]:
    """Suppress what follows for images deleted meanwhile."""
    return [
        Done(dropped="deleted") if isinstance(outcome, Done) and event.image_id in buried else outcome
        for outcome, event in zip(outcomes, events, strict=True)
    ]


def buried(found: dict[str, ImageRecord | Tombstone]) -> set[str]:
    return {image_id for image_id, row in found.items() if isinstance(row, Tombstone)}


def followed_by(outcomes: list[Outcome], extra: Sequence[Event]) -> list[Outcome]:
    """Attach events that belong to the batch as a whole to its first finished record."""
    for position, outcome in enumerate(outcomes):
        if extra and isinstance(outcome, Done):
            return [*outcomes[:position], Done((*outcome.events, *extra), outcome.dropped), *outcomes[position + 1 :]]
    return outcomes
