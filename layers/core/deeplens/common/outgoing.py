"""Events and records on their way to their topics."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from deeplens.common.event import Event


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """An event on its way to its topic, with the headers it travels with.

    Attributes
    ----------
    traceparent : the span that sends it is below this one.
    links : ``traceparent`` of spans that the one that sends it is linked to.
    """

    event: Event
    event_id: str
    traceparent: str | None = None
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OutgoingRecord:
    """A record, e.g. one that is sent again with its ``event_id``, so that what follows has the same ids as before.

    Attributes
    ----------
    attempt : counted from 1.
    replays : how often an operator sent it again.
    stage : the only consumer of its topic that it is for; None for all.
    traceparent, links : as of a message.
    subject : attributes of spans: whom it is about.
    """

    topic: str
    key: bytes | None
    value: bytes
    event_id: str
    traceparent: str | None = None
    attempt: int = 1
    replays: int = 0
    stage: str | None = None
    links: tuple[str, ...] = ()
    subject: Mapping[str, str | int | float | bool] = field(default_factory=dict)
