"""Which events of a batch are about the current generation of an image."""

from collections.abc import Sequence

from deeplens.common.stage import Done, Failed, Outcome
from deeplens.errors import ImageNotFound
from deeplens.events.images import ImageEvent
from deeplens.images.model import ImageRecord, Step, Tombstone


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


def without_buried(outcomes: Sequence[Outcome], events: Sequence[ImageEvent], buried: set[str]) -> list[Outcome]:
    """Suppress what follows for images deleted meanwhile."""
    return [
        Done(dropped="deleted") if isinstance(outcome, Done) and event.image_id in buried else outcome
        for outcome, event in zip(outcomes, events, strict=True)
    ]


def buried(found: dict[str, ImageRecord | Tombstone]) -> set[str]:
    return {image_id for image_id, row in found.items() if isinstance(row, Tombstone)}
