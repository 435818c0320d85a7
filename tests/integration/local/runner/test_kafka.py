"""The Kafka event source loses no record of a real broker, and no record blocks its partition."""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from local.runner.destination import FailureDestination
from local.runner.kafka_source import KafkaSource
from local.runner.template import KafkaEvent
from local.services.kafka import KafkaService
from tests.integration.local.runner.conftest import Journal, StartPool, eventually

_numbers = itertools.count(1)


@dataclass
class Topic:
    """A topic of three partitions with one consumer group."""

    brokers: str
    name: str
    group: str
    sent: int = 0
    failures: list[str] = field(default_factory=list)

    def send(self, *values: dict[str, Any] | None, partition: int = 0, **options: Any) -> None:
        producer = Producer({"bootstrap.servers": self.brokers, "linger.ms": 5})
        for value in values:
            content = None if value is None else json.dumps(value).encode()
            producer.produce(self.name, content, partition=partition, on_delivery=self._delivered, **options)
        assert producer.flush(15) == 0
        assert not self.failures
        self.sent += len(values)

    @cached_property
    def _observer(self) -> Consumer:
        return Consumer({"bootstrap.servers": self.brokers, "group.id": self.group, "log_level": 0})

    def _delivered(self, error: Any, _message: Any) -> None:
        if error:
            self.failures.append(str(error))

    def committed(self) -> dict[int, int]:
        # Not AdminClient.list_consumer_group_offsets: librdkafka 2.16 crashes when the coordinator is just loading.
        try:
            partitions = self._observer.committed([TopicPartition(self.name, n) for n in range(3)], 5)
        except KafkaException:
            return {}
        return {at.partition: at.offset for at in partitions if at.offset >= 0}

    def done(self) -> int:
        return sum(self.committed().values())


@pytest.fixture
def topic(kafka: KafkaService) -> Topic:
    return new_topic(kafka, f"numbers{next(_numbers)}")


def new_topic(kafka: KafkaService, name: str) -> Topic:
    brokers = kafka.environment["KAFKA_BROKERS"]
    admin = AdminClient({"bootstrap.servers": brokers})
    admin.create_topics([NewTopic(name, 3, 1)])[name].result(15)
    eventually(lambda: len(admin.list_topics(name, 5).topics[name].partitions) == 3)
    return Topic(brokers, name, f"group-{name}")


type StartSource = Callable[..., KafkaSource]


@pytest.fixture
def logged() -> list[str]:
    return []


@pytest.fixture
def start_source(topic: Topic, start_pool: StartPool, tmp_path: Path, logged: list[str]) -> Iterator[StartSource]:
    sources: list[KafkaSource] = []

    def start(limit: int = 3, **changes: Any) -> KafkaSource:
        event = replace(KafkaEvent(topic.name, topic.group, 50, 0, True, -1, -1, "", "arn:cluster", True), **changes)
        destination = FailureDestination(topic.brokers, tmp_path / "failed", timeout_seconds=1)
        pool = start_pool("on_numbers", limit, GATE=str(tmp_path / "gate"))
        sources.append(KafkaSource(event, pool, topic.brokers, destination, logged.append))
        sources[-1].start()
        return sources[-1]

    yield start
    for source in sources:
        source.stop()
    for source in sources:
        source.pool.stop()
        assert source.join(10)


def numbers(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"n": n} for n in range(first, first + count)]


def end(source: KafkaSource) -> None:
    source.stop()
    assert source.join(5)
    source.pool.stop()


def read(topic: Topic, count: int) -> list[Any]:
    consumer = Consumer(
        {"bootstrap.servers": topic.brokers, "group.id": f"reader{next(_numbers)}", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic.name])
    messages: list[Any] = []
    eventually(lambda: messages.extend(consumer.consume(count, 0.1)) or len(messages) >= count)
    consumer.close()
    return messages


def test_records_arrive_once_in_order_and_are_committed(
    topic: Topic, start_source: StartSource, journal: Journal
) -> None:
    for partition in range(3):
        topic.send(*numbers(200, 1000 * partition), partition=partition)
    source = start_source()
    eventually(lambda: topic.done() == 600)
    by_partition: dict[int, list[int]] = {}
    for record in journal.records():
        by_partition.setdefault(record["partition"], []).append(record["n"])
    assert by_partition == {n: list(range(1000 * n, 1000 * n + 200)) for n in range(3)}
    assert max(record["batch"] for record in journal.records()) == 50
    eventually(lambda: source.lag == 0)


def test_finished_records_are_not_delivered_again_after_a_clean_stop(
    topic: Topic, start_source: StartSource, journal: Journal
) -> None:
    topic.send(*numbers(100))
    first = start_source()
    eventually(lambda: len(journal.lines()) == 100)
    end(first)
    assert topic.committed() == {0: 100}
    topic.send(*numbers(10, 100))
    start_source()
    eventually(lambda: topic.done() == 110)
    assert journal.numbers() == list(range(110))


def test_a_new_record_is_processed_at_once(topic: Topic, start_source: StartSource, journal: Journal) -> None:
    start_source()
    topic.send({"n": 0})
    eventually(lambda: journal.numbers() == [0])
    for n in range(1, 6):
        topic.send({"n": n})
        eventually(lambda n=n: journal.numbers()[-1] == n, seconds=3)


def test_only_failed_records_and_later_ones_are_delivered_again(
    topic: Topic, start_source: StartSource, journal: Journal, tmp_path: Path
) -> None:
    topic.send({"n": 0}, {"n": 1}, {"n": 2, "do": "report"}, {"n": 3}, partition=0)
    topic.send({"n": 10}, partition=1)
    start_source(limit=1, window_seconds=0.3)
    eventually(lambda: topic.committed() == {0: 2, 1: 1})
    (tmp_path / "gate").touch()
    eventually(lambda: topic.committed() == {0: 4, 1: 1})
    seen = journal.numbers()
    assert [seen.count(n) for n in (0, 1, 10, 2)] == [1, 1, 1, 1]
    assert seen.count(3) > 1


@pytest.mark.parametrize("how", ["raise", "crash"])
def test_a_poison_record_is_isolated_and_ends_at_the_destination(
    kafka: KafkaService, topic: Topic, start_source: StartSource, journal: Journal, how: str
) -> None:
    dead = new_topic(kafka, f"dead-{topic.name}")
    topic.send(*numbers(5), {"n": 5, "do": how}, *numbers(5, 6), headers={"traceparent": b"00-ab"}, key=b"k")
    start_source(on_failure=f"kafka://{dead.name}", max_retry_attempts=1)
    eventually(lambda: topic.committed() == {0: 11})
    assert set(journal.numbers()) == set(range(11)) - {5}
    (letter,) = read(dead, 1)
    headers = dict(letter.headers())
    assert (json.loads(letter.value()), letter.key()) == ({"n": 5, "do": how}, b"k")
    assert headers["traceparent"] == b"00-ab"
    assert (headers["source-topic"], headers["source-offset"]) == (topic.name.encode(), b"5")
    assert headers["lambda-function"] == b"on_numbers"


def test_a_bucket_as_destination_receives_lambdas_invocation_record(
    topic: Topic, start_source: StartSource, tmp_path: Path
) -> None:
    topic.send({"n": 0, "do": "raise"}, {"n": 1})
    start_source(on_failure="arn:aws:s3:::undeliverable", max_retry_attempts=0)
    eventually(lambda: topic.committed() == {0: 2})
    (path,) = (tmp_path / "failed").iterdir()
    document = json.loads(path.read_text())
    assert [r["offset"] for r in document["payload"]["records"][f"{topic.name}-0"]] == [0]
    assert document["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert document["responseContext"]["functionError"]["errorType"] == "ValueError"


def test_records_wait_while_their_failure_destination_is_away(
    kafka: KafkaService, topic: Topic, start_source: StartSource, logged: list[str]
) -> None:
    topic.send({"n": 0, "do": "raise"})
    start_source(on_failure="kafka://not-there-yet", max_retry_attempts=0)
    eventually(lambda: any("failure destination" in line for line in logged), 30)
    assert topic.committed() == {}
    new_topic(kafka, "not-there-yet")
    eventually(lambda: topic.committed() == {0: 1}, 30)


def test_a_partition_that_always_fails_does_not_block_others(
    topic: Topic, start_source: StartSource, journal: Journal
) -> None:
    topic.send({"n": 0, "do": "report"}, {"n": 1}, partition=0)
    start_source(limit=1)
    eventually(lambda: journal.numbers() == [1])
    for n in range(10, 20):
        topic.send({"n": n}, partition=1 + n % 2)
    eventually(lambda: topic.committed() == {1: 5, 2: 5})


def test_a_batch_in_flight_is_delivered_again_after_a_hard_stop(
    topic: Topic, start_source: StartSource, journal: Journal, tmp_path: Path
) -> None:
    topic.send({"n": 0}, {"n": 1, "do": "wait"})
    first = start_source(batch_size=1)
    eventually(lambda: first.pool.in_flight == 1 and topic.committed() == {0: 1})
    first.stop()
    assert not first.join(0.2)
    first.pool.stop()
    assert first.join(5)
    assert topic.committed() == {0: 1}
    (tmp_path / "gate").touch()
    start_source()
    eventually(lambda: topic.committed() == {0: 2})
    assert journal.numbers() == [0, 1]


def test_missing_values_and_keys_arrive_as_null(topic: Topic, start_source: StartSource, journal: Journal) -> None:
    topic.send(None, {"n": 1})
    start_source()
    eventually(lambda: topic.committed() == {0: 2})
    assert journal.numbers() == [None, 1]


def test_a_second_consumer_takes_over_partitions_and_nothing_is_lost(
    topic: Topic, start_source: StartSource, journal: Journal
) -> None:
    def send_to_all() -> None:
        for partition in range(3):
            topic.send({"n": topic.sent}, partition=partition)

    first = start_source(batch_size=5)
    eventually(lambda: send_to_all() or first.pool.invocations)
    second = start_source(batch_size=5)
    eventually(lambda: send_to_all() or second.pool.invocations)
    eventually(lambda: topic.done() == topic.sent, 30)
    end(first)
    send_to_all()
    eventually(lambda: topic.done() == topic.sent)
    assert set(journal.numbers()) == set(range(topic.sent))


def test_a_broker_that_is_killed_and_comes_back_loses_nothing(
    kafka: KafkaService, topic: Topic, start_source: StartSource, journal: Journal
) -> None:
    source = start_source(batch_size=10)
    topic.send(*numbers(100))
    eventually(lambda: len(journal.lines()) >= 50)
    kafka.kill()
    eventually(lambda: source.pool.in_flight == 0)
    kafka.start()
    topic.send(*numbers(100, 100))
    eventually(lambda: topic.committed() == {0: 200}, 30)
    assert set(journal.numbers()) == set(range(200))


def test_lag_counts_unfinished_records_here_and_on_the_broker(
    topic: Topic, start_source: StartSource, tmp_path: Path
) -> None:
    source = start_source(limit=1, batch_size=1)
    topic.send({"n": 0, "do": "wait"}, *numbers(9, 1))
    eventually(lambda: source.lag == 10)
    (tmp_path / "gate").touch()
    eventually(lambda: source.lag == 0)
    assert source.pool.invocations == 10
