"""Ports to the clock, the broker and the secret store. One behaviour suite per port runs on each adapter."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from deeplens.common.outgoing import OutgoingMessage, OutgoingRecord


class Clock(Protocol):
    def now(self) -> datetime:
        """The current time, UTC and aware."""


class EventPublisher(Protocol):
    def connect(self) -> None:
        """Begin to connect in the background; never fails, and publishing works without it."""

    def ping(self) -> None:
        """Raise unless the broker answers."""

    def publish(self, messages: Sequence[OutgoingMessage]) -> list[bool]:
        """Send and wait for every delivery report; one truth value per message, in order."""

    def resend(self, records: Sequence[OutgoingRecord]) -> list[bool]:
        """The same for records as they were."""


class SecretStore(Protocol):
    """Secrets by name. Raises ``SecretStoreUnavailable``."""

    def get(self, name: str) -> str:
        """``SecretNotFound`` when there is none."""

    def put(self, name: str, value: str) -> None:
        """Store a new secret."""

    def delete(self, name: str) -> None:
        """Remove it for good; a missing one is fine."""
