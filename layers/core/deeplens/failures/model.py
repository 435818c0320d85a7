"""Dead letters: records that were given up, kept with their state, found again, replayed or discarded."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NewType, Protocol

from deeplens.common.backoff import Backoff
from deeplens.events.failures import Retry, SourceRecord

RetryPolicies = NewType("RetryPolicies", Mapping[str, Backoff])
"""Retry policies by topic; a topic without one is never retried."""

MAX_REPLAYS = 3
"""A record that failed again after so many replays is replayed once more only by force."""

DeadLetterState = Literal["open", "replayed", "discarded"]


@dataclass(frozen=True, slots=True)
class DeadLetterEntry:
    """A row of ``dead_letters``.

    Attributes
    ----------
    source : the record that was given up, where it was kept.
    replays : of this letter; its record may have been replayed before, see ``replays_in_all``.
    settled_at, reason : when and why it left the state ``open``.
    """

    id: str
    tenant_id: str | None
    image_id: str | None
    stage: str | None
    error_code: str
    error_message: str
    attempt: int
    failed_at: datetime
    source: SourceRecord | None
    state: DeadLetterState = "open"
    replays: int = 0
    settled_at: datetime | None = None
    reason: str | None = None

    @property
    def replays_in_all(self) -> int:
        return self.replays + ((self.source.replays or 0) if self.source else 0)


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Selects letters; None and an empty ``ids`` select all. ``failed_before`` is exclusive."""

    ids: tuple[str, ...] = ()
    tenant_id: str | None = None
    code: str | None = None
    stage: str | None = None
    state: DeadLetterState | None = None
    failed_from: datetime | None = None
    failed_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class DeadLetterGroup:
    """Letters with one code and stage."""

    code: str
    stage: str | None
    count: int
    oldest: datetime
    newest: datetime


class DeadLetters(Protocol):
    """Platform database. Raises ``DatabaseUnavailable``."""

    def store(self, letters: Sequence[DeadLetterEntry]) -> None:
        """Keep dead letters; unique by id, a repeat changes nothing."""

    def page(self, where: DeadLetterFilter, after: tuple[datetime, str] | None, limit: int) -> list[DeadLetterEntry]:
        """At most ``limit`` letters, newest failure first, behind (failed_at, id) of the last one seen."""

    def groups(self, where: DeadLetterFilter, limit: int) -> list[DeadLetterGroup]:
        """The most frequent first."""

    def mark_replayed(self, ids: Sequence[str], now: datetime) -> None:
        """Count a replay of each."""

    def settle_image(self, tenant_id: str, image_id: str, reason: str, now: datetime) -> None:
        """Settle the open letters about an image that is processed from the start; none counts as a replay."""

    def discard(self, letter_id: str, reason: str, now: datetime) -> bool:
        """Settle an open letter; False when there is none."""


def replay_blocker(letter: DeadLetterEntry, topics: Container[str], *, force: bool = False) -> str | None:
    """The reason why a letter is not replayed; None if it may be.

    Parameters
    ----------
    topics : names of topics that accept replayed records.
    force : replay it although it was settled, or failed again after ``MAX_REPLAYS`` replays.
    """
    source = letter.source
    if source is None or source.value is None:
        return "its record was not kept"
    if source.topic not in topics:
        return "its topic is not one of this system"
    if force:
        return None
    if letter.state != "open":
        return f"it was {letter.state} already"
    if letter.replays_in_all >= MAX_REPLAYS:
        return f"it failed again after {letter.replays_in_all} replays"
    return None


class RetryQueue(Protocol):
    """Failed records that wait for their next attempt. Raises ``QueueUnavailable``."""

    def send(self, retries: Sequence[Retry], now: datetime) -> list[bool]:
        """Keep each until it is due, at most ``LONGEST_HOP_SECONDS``; one truth value per retry, in order.

        A retry may be received more than once, and before it is due.
        """
