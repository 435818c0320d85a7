"""Topics on the broker: read, create, mend, delete."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
)
from deeplens.events.topics import TOPICS, Cluster, Topic, broker_topic_name
from deeplens.settings import Settings

from local.operations.broker import TIMEOUT_SECONDS, Broker, TopicNotFound, explained, explaining
from local.services import ServiceFailed

SET_FOR_THE_TOPIC = 1
"""The source of a setting that the topic itself has (``DYNAMIC_TOPIC_CONFIG``)."""
CHANGE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class PartitionState:
    """One partition. ``first`` and ``next`` are None while it has no leader."""

    number: int
    leader: int
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]
    first: int | None = None
    next: int | None = None

    @property
    def records(self) -> int:
        return (self.next or 0) - (self.first or 0)


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as the broker has it. ``own`` are the settings that are not the broker's defaults."""

    name: str
    partitions: tuple[PartitionState, ...]
    settings: Mapping[str, str]
    own: Mapping[str, str]

    @property
    def replication(self) -> int:
        return min((len(partition.replicas) for partition in self.partitions), default=0)

    @property
    def records(self) -> int:
        return sum(partition.records for partition in self.partitions)


class Topics:
    """The topics of a broker."""

    def __init__(self, broker: Broker) -> None:
        self._broker, self._client = broker, broker.client

    def all(self) -> dict[str, TopicState]:
        """Topics by name, without those of Kafka itself."""
        found = {name: topic for name, topic in self._broker.metadata().topics.items() if not name.startswith("__")}
        positions = [(name, number) for name, topic in found.items() for number in topic.partitions]
        offsets, settings = self._broker.earliest_and_latest(positions), self._settings(found)
        return {
            name: TopicState(
                name,
                tuple(
                    PartitionState(
                        number,
                        partition.leader,
                        tuple(partition.replicas),
                        tuple(partition.isrs),
                        *offsets.get((name, number), (None, None)),
                    )
                    for number, partition in sorted(topic.partitions.items())
                ),
                *settings[name],
            )
            for name, topic in sorted(found.items())
            if name in settings
        }

    def get(self, name: str) -> TopicState:
        """Raises ``TopicNotFound``."""
        state = self.all().get(name)
        if state is None:
            raise TopicNotFound(f"there is no topic {name}. `deeplens topics list` shows all.")
        return state

    def create(self, topics: Iterable[NewTopic]) -> list[str]:
        """Create topics, and wait until the broker knows them; returns the names of those that did not exist."""
        wanted = list(topics)
        futures = self._client.create_topics(wanted, request_timeout=TIMEOUT_SECONDS) if wanted else {}
        created = [name for name, future in futures.items() if _created(name, future)]
        self._wait("created", lambda existing: existing >= set(created))
        return created

    def delete(self, name: str) -> None:
        """Delete a topic, and wait until its name is free again."""
        future = self._client.delete_topics([name], request_timeout=TIMEOUT_SECONDS)[name]
        self._broker.result(f"deleting {name}", future)
        self._wait("deleted", lambda existing: name not in existing)

    def recreate(self, state: TopicState) -> None:
        """Delete a topic, and create it with the partitions, replicas and settings that it had."""
        self.delete(state.name)
        self.create([NewTopic(state.name, len(state.partitions), state.replication, config=dict(state.own))])

    def add_partitions(self, name: str, total: int) -> None:
        future = self._client.create_partitions([NewPartitions(name, total)])[name]
        self._broker.result(f"adding partitions to {name}", future)

    def change_settings(self, name: str, values: Mapping[str, str]) -> None:
        """Set some settings of a topic; the others stay."""
        operation = AlterConfigOpType.SET
        entries = [ConfigEntry(key, value, incremental_operation=operation) for key, value in values.items()]
        resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=entries)
        self._broker.result(f"changing {name}", self._client.incremental_alter_configs([resource])[resource])

    def _wait(self, change: str, done: Callable[[AbstractSet[str]], bool]) -> None:
        """Wait until brokers see a change that the controller has made."""
        deadline = time.monotonic() + CHANGE_SECONDS
        while not done(self._broker.metadata().topics.keys()):
            if time.monotonic() > deadline:
                raise ServiceFailed(f"topics were not {change} within {CHANGE_SECONDS} s. See the broker's log.")
            time.sleep(0.1)

    def _settings(self, names: Iterable[str]) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
        """All settings and its own of each topic; a topic that was deleted meanwhile has none."""
        resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
        with explaining("reading settings"):
            futures = self._client.describe_configs(resources) if resources else {}
        settings = {}
        for resource, future in futures.items():
            try:
                entries = self._broker.result(f"reading the settings of {resource.name}", future).values()
            except TopicNotFound:
                continue
            known = {entry.name: str(entry.value) for entry in entries if entry.value is not None}
            own = {entry.name: known[entry.name] for entry in entries if entry.source == SET_FOR_THE_TOPIC}
            settings[resource.name] = known, own
        return settings


def create_topics(
    settings: Settings, topics: Sequence[Topic] = TOPICS, *, partitions: int | None = None, cluster: Cluster = "single"
) -> list[str]:
    """Create the registered topics that are missing; returns their names. Raises ``BrokerUnavailable``.

    ``partitions`` is a minimum for every topic, e.g. 12 in production.
    """
    broker = Broker(settings)
    existing = broker.metadata().topics
    return Topics(broker).create(
        new_topic(topic, name, partitions=partitions, cluster=cluster)
        for topic, name in registered(settings, topics).items()
        if name not in existing
    )


def registered(settings: Settings, topics: Sequence[Topic] = TOPICS) -> dict[Topic, str]:
    """The registered topics with their names on this installation's broker."""
    return {topic: broker_topic_name(topic.name, settings.kafka_topic, settings.name_prefix) for topic in topics}


def new_topic(topic: Topic, name: str, *, partitions: int | None = None, cluster: Cluster = "single") -> NewTopic:
    return NewTopic(
        name,
        num_partitions=max(partitions or 0, topic.partitions),
        replication_factor=topic.replication(cluster),
        config=topic.settings(cluster),
    )


def _created(name: str, future: object) -> bool:
    try:
        future.result()  # type: ignore[attr-defined]
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise explained(f"creating {name}", error.args[0]) from error
    return True
