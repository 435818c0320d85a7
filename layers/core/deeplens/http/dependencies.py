"""Dependencies of routes: single ports, values and use cases of the container, and publishing before the answer."""

from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, cast

from fastapi import Depends, Request

from deeplens.common.event import Event
from deeplens.common.outgoing import OutgoingMessage
from deeplens.common.ports import EventPublisher
from deeplens.errors import BrokerUnavailable

if TYPE_CHECKING:
    from deeplens.common.resolve import Resolver


@cache
def port(kind: Callable[..., Any]) -> Callable[[Request], Awaitable[Any]]:
    """The dependency that gives a route a port, a value or a use case of type ``kind`` from the container."""

    # Asynchronous: resolving needs no thread.
    async def resolve(request: Request) -> Any:
        return cast("Resolver", request.app.state.container).resolve(kind)

    return resolve


if TYPE_CHECKING:
    type Injected[T] = T
else:

    class Injected:
        """``Injected[ImageRepository]`` as a route's parameter: an ``ImageRepository`` from the container."""

        def __class_getitem__(cls, kind: Callable[..., Any]) -> Any:
            return Annotated[kind, Depends(port(kind))]


class Publish:
    """Publish events, each with its own ``event_id``, and wait for their delivery.

    Raises ``BrokerUnavailable`` unless all were delivered: the response is 503, and a repeat publishes the same events.
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
