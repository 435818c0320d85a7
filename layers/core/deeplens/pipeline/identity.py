"""Ids of events that tell of something that happens once."""

from uuid import NAMESPACE_URL, uuid5


def event_id(*what: object) -> str:
    """The same id whichever record the event follows from: an image may be sent twice and still counts once."""
    return str(uuid5(NAMESPACE_URL, "/".join(map(str, what))))
