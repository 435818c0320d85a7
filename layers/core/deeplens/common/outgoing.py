"""Events and records on their way to their topics."""

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
    """A record, e.g. one that is sent again with its ``event_id``, so that what follows has the same ids as before.

    Attributes
    ----------
    attempt : counted from 1.
    replays : how often an operator sent it again.
    stage : the only consumer of its topic that it is for; None for all.
    """

    topic: str
    key: bytes | None
    value: bytes
    event_id: str
    traceparent: str | None = None
    attempt: int = 1
    replays: int = 0
    stage: str | None = None
