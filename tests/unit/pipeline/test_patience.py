"""Half an hour without a shared part: everything waits, nothing is given up, and all of it completes afterwards."""

import itertools
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from deeplens.events.topics import (
    FEATURES_EXTRACTION,
    IMAGES_UPLOADED,
    PROCESSING_COMPLETED,
    PROCESSING_DEADLETTER,
    PROCESSING_FAILED,
    RETRIES,
    TOPICS,
    VECTORS_INDEXING,
)
from deeplens.images.model import Step

from local.runner.batches import Batch, Policy, backoff_seconds, decide
from local.runner.template import KafkaEvent, load
from tests.harness.faults import PARTS, Part
from tests.harness.machine import Machine

OUTAGE = timedelta(minutes=30)
TEMPLATE = load(Path(__file__).resolve().parents[3] / "template.yaml", {}, {})
SOURCES = {event.topic: event for spec in TEMPLATE.functions for event in spec.events if isinstance(event, KafkaEvent)}
PATH = [IMAGES_UPLOADED.name, FEATURES_EXTRACTION.name, VECTORS_INDEXING.name, PROCESSING_COMPLETED.name]
WORKED = [topic.name for topic in TOPICS if topic.consumers]


@dataclass(frozen=True, slots=True)
class Positioned:
    """A record of a flow, as the runner's decisions need it."""

    record: dict[str, Any]
    topic_partition: str
    offset: int
    timestamp_ms: int


class Poller:
    """The runner's event source of one topic, on a simulated clock."""

    def __init__(self, machine: Machine, topic: str) -> None:
        source = SOURCES[topic]
        self._machine, self._topic, self._size = machine, topic, source.batch_size
        self._policy = Policy(source.partial, source.bisect, source.max_retry_attempts, source.max_record_age_seconds)
        self._batches: list[Batch[Positioned]] = []
        self._next = machine.flow.clock.now()
        self.most_attempts = 0
        self.given_up: list[Positioned] = []

    @property
    def busy(self) -> bool:
        return bool(self._batches or self._machine.flow.records.get(self._topic))

    def poll(self, now: datetime) -> None:
        """Invoke once, if there is something and its pause is over."""
        if not self.busy or now < self._next:
            return
        batch = self._batches.pop(0) if self._batches else self._new_batch(now)
        event = {"records": {f"{self._topic}-0": [record.record for record in batch.records]}}
        answer = self._machine.flow.invoke(self._topic, event)
        self._machine.flow.forward()
        decision = decide(batch, False, answer, self._policy, _ms(now))
        self.given_up += decision.given_up
        self._batches = [*decision.retries, *self._batches]
        if decision.retries:
            attempts = decision.retries[0].attempts
            self.most_attempts = max(attempts, self.most_attempts)
            self._next = now + timedelta(seconds=backoff_seconds(attempts))

    def _new_batch(self, now: datetime) -> Batch[Positioned]:
        queue = self._machine.flow.records[self._topic]
        records = [queue.popleft() for _ in range(min(len(queue), self._size))]
        return Batch(tuple(Positioned(r, f"{self._topic}-0", r["offset"], _ms(now)) for r in records))


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


class Deployment:
    """A machine whose topics are polled as the template says, with the schedule's minutes and the delay queue."""

    def __init__(self) -> None:
        self.machine = Machine(window=50)
        # Time passes only when a test says so.
        self.machine.flow.clock._seconds = itertools.repeat(0)
        self.pollers = {topic: Poller(self.machine, topic) for topic in WORKED}

    def run(self, time: timedelta) -> None:
        clock, until = self.machine.flow.clock, self.machine.flow.clock.now() + time
        for seconds in itertools.count():
            if clock.now() >= until:
                return
            for poller in self.pollers.values():
                poller.poll(clock.now())
            if seconds % 60 == 59:
                self.machine.tick()
            if seconds % 20 == 19:
                self._receive()
            clock.skip(timedelta(seconds=1))

    def _receive(self) -> None:
        """What is due of the delay queue; SQS delays a message, and is as far away as its part."""
        queue, now = self.machine.flow.retries, self.machine.flow.clock.now()
        if "queue" not in self.machine.faults.away and any(message.due <= now for message in queue.messages.values()):
            self.machine.receive()

    def rows(self) -> list[Any]:
        return [self.machine.row(image_id) for image_id in self.machine.uploads]


def in_flight(machine: Machine) -> list[str]:
    """Images before every stage, and one that has failed for the time being."""
    ids = [machine.new_upload(good=True) for _ in range(5)]
    for image_id, stages in zip(ids, (3, 2, 1), strict=False):
        machine.upload(image_id)
        for topic in PATH[:stages]:
            machine.deliver(topic)
    machine.upload(ids[3])
    with machine.faults.at(4, "denied"):
        machine.deliver(PATH[0])
    machine.upload(ids[4])
    assert [len(machine.flow.records[topic]) for topic in (*PATH, PROCESSING_FAILED.name)] == [1] * 5
    return ids


@pytest.mark.parametrize("part", PARTS)
def test_half_an_hour_without_a_part_dead_letters_nothing(part: Part) -> None:
    deployment = Deployment()
    machine, ids = deployment.machine, in_flight(deployment.machine)

    machine.faults.away.add(part)
    deployment.run(OUTAGE)
    assert any(row.step is not Step.COMPLETED for row in deployment.rows()), f"nobody noticed: {part}"
    machine.faults.away.clear()
    deployment.run(timedelta(minutes=10))

    assert [row.step for row in deployment.rows()] == [Step.COMPLETED] * len(ids)
    assert machine.flow.dead_letters.letters == {}
    assert [poller.given_up for poller in deployment.pollers.values() if poller.given_up] == []
    assert not any(poller.busy for poller in deployment.pollers.values())
    assert (machine.flow.pending._rows, machine.flow.retries.messages) == ({}, {})
    assert machine.metered("images.completed") == len(ids)
    check_attempts(deployment)


def check_attempts(deployment: Deployment) -> None:
    """An outage counts no attempt of an image, and few of its batch."""
    failures = [record for record in deployment.machine.flow.log if record["topic"] == PROCESSING_FAILED.name]
    assert len(failures) == 1, "only the one that the tenant's store refused"
    assert {row.attempt for row in deployment.rows()} == {1}
    for topic, poller in deployment.pollers.items():
        # Every five seconds at the most, and a tenth of what the template allows.
        assert poller.most_attempts <= OUTAGE.total_seconds() / 5 + 10 < SOURCES[topic].max_retry_attempts / 10


def test_images_that_wait_are_sent_again_by_the_schedule_and_count_once_all_the_same() -> None:
    deployment = Deployment()
    machine, ids = deployment.machine, in_flight(deployment.machine)
    machine.faults.away.add("inference")
    deployment.run(OUTAGE)
    sent = [json.loads(machine.value_of(r))["imageId"] for r in machine.flow.log if "images.uploaded" in r["topic"]]
    machine.faults.away.clear()
    deployment.run(timedelta(minutes=10))

    assert max(sent.count(image_id) for image_id in ids) <= 1 + OUTAGE / machine.flow.pending_due
    assert {machine.told()["image.completed", image_id] for image_id in ids[::2]} == {1}
    assert machine.metered("images.completed") == len(ids)


@pytest.mark.parametrize("source", SOURCES.values(), ids=lambda source: source.topic)
def test_attempts_and_age_of_a_record_last_for_hours(source: KafkaEvent) -> None:
    """Attempts that end at once, each only as far from the next as the runner's pauses."""
    lasting = sum(backoff_seconds(attempt) for attempt in range(1, source.max_retry_attempts + 1))
    assert lasting > 12 * 3600
    assert source.max_record_age_seconds >= 24 * 3600


def test_messages_of_the_delay_queue_come_again_for_hours() -> None:
    queue = TEMPLATE.queues["RetryQueue"]
    assert int(queue["VisibilityTimeout"]) * int(queue["RedrivePolicy"]["maxReceiveCount"]) > 8 * 3600
    assert int(queue["MessageRetentionPeriod"]) >= 7 * 24 * 3600


def test_every_topic_that_is_worked_is_polled_here() -> None:
    assert set(SOURCES) == set(WORKED)
    assert set(RETRIES) | {PROCESSING_FAILED.name, PROCESSING_DEADLETTER.name} == set(WORKED)
