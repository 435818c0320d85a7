"""Dropping events of deleted images and of older generations."""

from collections.abc import Sequence

from deeplens.common.stage import Done, Failed, Outcome
from deeplens.errors import ImageNotFound
from deeplens.events.images import ImageEvent
from deeplens.images.model import ImageRecord, Step, Tombstone


def current(
    event: ImageEvent, found: ImageRecord | Tombstone | None, *, reopen_failed: bool = False
) -> ImageRecord | Outcome:
    """The row that an event may still change, or the outcome that ends the event here.

    An image that failed is worked on in a newer generation only, unless ``reopen_failed``.
    """
    if found is None:
        return Failed(ImageNotFound(f"no image {event.image_id}"))
    if isinstance(found, Tombstone):
        return Done(dropped="deleted")
    if found.generation > event.effective_generation:
        return Done(dropped="older generation")
    if found.step is Step.FAILED and found.generation == event.effective_generation and not reopen_failed:
        return Done(dropped="failed")
    return found


def split_current[E: ImageEvent](
    batch: Sequence[E], found: dict[str, ImageRecord | Tombstone], *, reopen_failed: bool = False
) -> tuple[list[tuple[E, ImageRecord]], dict[int, Outcome]]:
    """The events to process with their rows, and the outcomes of the others by position."""
    work: list[tuple[E, ImageRecord]] = []
    ended: dict[int, Outcome] = {}
    for position, event in enumerate(batch):
        row = current(event, found.get(event.image_id), reopen_failed=reopen_failed)
        if isinstance(row, ImageRecord):
            work.append((event, row))
        else:
            ended[position] = row
    return work, ended


def drop_deleted(outcomes: Sequence[Outcome], events: Sequence[ImageEvent], deleted_ids: set[str]) -> list[Outcome]:
    """Drop the outcomes, and with them the events, of images deleted meanwhile."""
    return [
        Done(dropped="deleted") if isinstance(outcome, Done) and event.image_id in deleted_ids else outcome
        for outcome, event in zip(outcomes, events, strict=True)
    ]


def deleted_ids(found: dict[str, ImageRecord | Tombstone]) -> set[str]:
    return {image_id for image_id, row in found.items() if isinstance(row, Tombstone)}
