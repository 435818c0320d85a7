"""Consumer groups: how far they are behind, and where they continue."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from confluent_kafka import ConsumerGroupState, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

from local.operations.broker import TIMEOUT_SECONDS, Broker, Position, explaining
from local.services import ServiceFailed

type Target = Literal["earliest", "latest"] | int | datetime
"""Where a group shall continue: at an end of each partition, at an offset, or at the first record since a time."""
INACTIVE = {ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD}
ENDS: Mapping[str, Target] = {"earliest": "earliest", "latest": "latest"}
OFFSET = re.compile(r"\d{1,18}")


@dataclass(frozen=True, slots=True)
class GroupPosition:
    """Where a group is in a partition. ``committed`` is None before its first commit; ``client`` reads it now."""

    topic: str
    partition: int
    committed: int | None
    first: int
    next: int
    client: str = ""

    @property
    def lag(self) -> int:
        """Records that the group has not processed and that the topic still has."""
        return self.next - min(self.next, max(self.first, self.committed or 0))


@dataclass(frozen=True, slots=True)
class GroupState:
    """A consumer group with its positions, by topic and partition."""

    name: str
    state: str
    active: bool
    members: int
    positions: tuple[GroupPosition, ...]

    @property
    def lag(self) -> int:
        return sum(position.lag for position in self.positions)


@dataclass(frozen=True, slots=True)
class Move:
    """One partition of a reset: records between ``before`` and ``after`` are skipped or processed again."""

    topic: str
    partition: int
    before: int
    after: int


class Groups:
    """The consumer groups of a broker."""

    def __init__(self, broker: Broker) -> None:
        self._broker, self._client = broker, broker.client

    def names(self) -> list[str]:
        future = self._client.list_consumer_groups(request_timeout=TIMEOUT_SECONDS)
        return sorted(group.group_id for group in self._broker.result("listing groups", future).valid)

    def all(self) -> list[GroupState]:
        return self._read(self.names())

    def get(self, name: str) -> GroupState:
        """Raises ``ServiceFailed`` for an unknown group."""
        if name not in (names := self.names()):
            raise ServiceFailed(f"there is no group {name}. Groups: {', '.join(names) or 'none'}")
        return self._read([name])[0]

    def plan(self, group: GroupState, target: Target, topic: str = "", partition: int | None = None) -> list[Move]:
        """What a reset would change, of all its partitions or some. Raises ``ServiceFailed`` for an active group."""
        if group.active:
            raise ServiceFailed(
                f"{group.name} is active ({group.state}, {group.members} members), and its consumers would overwrite"
                " the reset. Stop them first: `deeplens down`, or on AWS disable the function's event source mapping."
            )
        chosen = [
            position
            for position in group.positions
            if topic in ("", position.topic) and partition in (None, position.partition)
        ]
        if not chosen:
            raise ServiceFailed(f"{group.name} has no offsets there. `deeplens topics lag {group.name}` shows them.")
        found = self._times(chosen, target) if isinstance(target, datetime) else {}
        return [
            Move(
                position.topic,
                position.partition,
                position.first if position.committed is None else position.committed,
                offset_for(position, target, found.get((position.topic, position.partition), -1)),
            )
            for position in chosen
        ]

    def reset(self, name: str, moves: Iterable[Move]) -> None:
        """Commit the new offsets. The broker refuses this for a group that has become active."""
        offsets = [TopicPartition(move.topic, move.partition, move.after) for move in moves]
        with explaining(f"resetting {name}"):
            asked = [ConsumerGroupTopicPartitions(name, offsets)]
            futures = self._client.alter_consumer_group_offsets(asked, request_timeout=TIMEOUT_SECONDS)
        changed = self._broker.result(f"resetting {name}", futures[name]).topic_partitions
        if failed := [position for position in changed if position.error]:
            raise ServiceFailed(f"{failed[0].topic}-{failed[0].partition} was not reset: {failed[0].error.str()}")

    def _times(self, positions: Sequence[GroupPosition], since: datetime) -> Mapping[Position, int]:
        spec = OffsetSpec.for_timestamp(int(since.timestamp() * 1000))
        return self._broker.offsets([(position.topic, position.partition) for position in positions], spec)

    def _ends(self, topics: Iterable[str]) -> Mapping[Position, tuple[int, int]]:
        """The ends of every partition of some topics; topics that were deleted have none."""
        found = self._broker.metadata().topics
        return self._broker.earliest_and_latest(
            (topic, number) for topic in topics if topic in found for number in found[topic].partitions
        )

    def _read(self, names: Sequence[str]) -> list[GroupState]:
        if not names:
            return []
        described = self._client.describe_consumer_groups(list(names), request_timeout=TIMEOUT_SECONDS)
        requests = {
            name: self._client.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(name)], request_timeout=TIMEOUT_SECONDS
            )[name]
            for name in names
        }
        groups = {name: self._broker.result(f"reading the group {name}", future) for name, future in described.items()}
        committed = {
            name: {
                (found.topic, found.partition): found.offset
                for found in self._broker.result(f"reading offsets of {name}", future).topic_partitions
                if found.offset >= 0
            }
            for name, future in requests.items()
        }
        readers = {name: _readers(group) for name, group in groups.items()}
        ends = self._ends({topic for name in names for topic, _ in {**committed[name], **readers[name]}})
        return [
            GroupState(
                name,
                groups[name].state.name.lower(),
                groups[name].state not in INACTIVE,
                len(groups[name].members),
                tuple(_positions(committed[name], readers[name], ends)),
            )
            for name in names
        ]


def target_of(text: str) -> Target:
    """Read ``earliest``, ``latest``, an offset, or a time of ISO 8601, in UTC unless it has a zone."""
    if text in ENDS:
        return ENDS[text]
    if OFFSET.fullmatch(text):
        return int(text)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ServiceFailed(
            f"{text} is no place to continue at. Give earliest, latest, an offset such as 1200, or a time such as"
            " 2026-01-14T10:30:00Z."
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def offset_for(position: GroupPosition, target: Target, found: int = -1) -> int:
    """The offset to continue at, within what the partition has; ``found`` is its first since the target's time."""
    match target:
        case "earliest":
            return position.first
        case "latest":
            return position.next
        case int():
            return min(position.next, max(position.first, target))
        case _:
            return position.next if found < 0 else found


def _readers(group: Any) -> dict[Position, str]:
    """The client that reads each partition."""
    return {
        (assigned.topic, assigned.partition): member.client_id
        for member in group.members
        for assigned in (member.assignment.topic_partitions if member.assignment else ())
    }


def _positions(
    committed: Mapping[Position, int],
    readers: Mapping[Position, str],
    ends: Mapping[Position, tuple[int, int]],
) -> Iterable[GroupPosition]:
    """Every partition of the topics that the group reads or has read."""
    topics = {topic for topic, _ in {**committed, **readers}}
    for position in sorted(position for position in ends if position[0] in topics):
        yield GroupPosition(*position, committed.get(position), *ends[position], readers.get(position, ""))
