"""Publishing the events that a use case returned, before the request is answered."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Request

from deeplens.common.event import Event
from deeplens.common.outgoing import OutgoingMessage
from deeplens.common.ports import EventPublisher
from deeplens.errors import BrokerUnavailable
from deeplens.http.dependencies import Injected


class Publish:
    """Publish events, each with its own ``event_id``, and wait for their delivery.

    Raises
    ------
    BrokerUnavailable
        At least one was not delivered: the request is answered 503, and a repeat publishes the same events again.
    """

    def __init__(self, publisher: EventPublisher, traceparent: str | None = None) -> None:
        self._publisher, self._traceparent = publisher, traceparent

    def __call__(self, events: Sequence[Event]) -> None:
        if not self.best_effort(events):
            raise BrokerUnavailable("an event was not delivered", retry_after_seconds=2)

    def best_effort(self, events: Sequence[Event]) -> bool:
        """Publish events that the schedule sends again if they are lost; returns whether all were delivered."""
        messages = [OutgoingMessage(event, event.event_id, self._traceparent) for event in events]
        return not messages or all(self._publisher.publish(messages))


def publish_of(request: Request, publisher: Injected[EventPublisher]) -> Publish:
    return Publish(publisher, request.state.traceparent)


Publishing = Annotated[Publish, Depends(publish_of)]
