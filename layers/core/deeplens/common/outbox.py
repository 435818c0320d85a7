"""Events that are published by whoever asked for them."""

from collections.abc import Sequence

from deeplens.common.outgoing import OutgoingMessage, OutgoingRecord


class Outbox:
    """An ``EventPublisher`` for code that runs inside a stage: it keeps what the stage has to return."""

    def __init__(self) -> None:
        self.messages: list[OutgoingMessage] = []

    def connect(self) -> None:
        """There is nothing to connect to."""

    def ping(self) -> None:
        """It always answers."""

    def publish(self, messages: Sequence[OutgoingMessage]) -> list[bool]:
        self.messages += messages
        return [True] * len(messages)

    def resend(self, records: Sequence[OutgoingRecord]) -> list[bool]:
        raise NotImplementedError("records are sent again by their own stage")
