"""Publishing one event whose delivery decides the answer."""

from deeplens.common.event import Event
from deeplens.common.outgoing import OutgoingMessage
from deeplens.common.ports import EventPublisher
from deeplens.errors import BrokerUnavailable


def publish(publisher: EventPublisher, event: Event, event_id: str, traceparent: str | None) -> None:
    if publisher.publish([OutgoingMessage(event, event_id, traceparent)]) != [True]:
        raise BrokerUnavailable("the video's event was not delivered", retry_after_seconds=2)
