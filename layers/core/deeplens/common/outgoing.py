"""Events on their way: to their topic, or held back until their tenant has room for them."""

from dataclasses import dataclass

from deeplens.common.event import Event


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """An event on its way to its topic, with the headers it travels with."""

    event: Event
    event_id: str
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class OutgoingRecord:
    """A record as it stands on its topic, e.g. one that is sent again.

    Attributes
    ----------
    event_id : the same as before, so that what follows from it has the same ids as well.
    attempt : counted from 1; a failure tells it.
    replays : how often an operator has sent it again.
    stage : the one of its topic's consumers that it is for; None for all.
    """

    topic: str
    key: bytes | None
    value: bytes
    event_id: str
    traceparent: str | None = None
    attempt: int = 1
    replays: int = 0
    stage: str | None = None
