"""Event ids, derived from what caused the event."""

from uuid import UUID, uuid5

from deeplens.common.event import Event
from deeplens.events.images import ImageUploaded

NAMESPACE = UUID("6f1f5d0e-8f0b-5d38-9f1a-5d1f3f0c7a11")


def follow_up_id(stage: str, source_event_id: str, index: int) -> str:
    """Id of the ``index``-th event that follows from a record; the same when the stage is repeated."""
    return str(uuid5(NAMESPACE, f"{stage}/{source_event_id}/{index}"))


def with_follow_up_id[E: Event](event: E, stage: str, source_event_id: str, index: int = 0) -> E:
    """Return the event with such an id, to publish it outside a stage: the same when a request is repeated."""
    return event.model_copy(update={"event_id": follow_up_id(stage, source_event_id, index)})


def upload_id(event: ImageUploaded) -> str:
    """Return the id of an image's first event, the same for every sender and repeat, so that it counts once."""
    return follow_up_id("upload", event.image_id, event.effective_generation)


def with_upload_id(event: ImageUploaded) -> ImageUploaded:
    """Return the event with that id, to publish it outside a stage."""
    return event.model_copy(update={"event_id": upload_id(event)})


def event_id_of(event: Event, stage: str, source_event_id: str, index: int, own_key: str = "") -> str:
    """Id of an event that a stage or job publishes: its own, or derived from its source and its ``index`` there.

    An event with another key than the source's own event (``own_key``) belongs to the whole batch. A repeat may emit
    another event in its place, so its key is part of its id.
    """
    if event.event_id:
        return event.event_id
    if isinstance(event, ImageUploaded):
        return upload_id(event)
    source = source_event_id if event.key == own_key else f"{source_event_id}/{event.key}"
    return follow_up_id(stage, source, index)
