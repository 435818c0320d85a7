"""Kafka event source: polls a topic, invokes with Lambda's exact event, commits what is done."""

import base64
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from local.runner.batches import Batch, Policy, backoff_seconds, committable, decide
from local.runner.destination import FailureDestination
from local.runner.template import KafkaEvent
from local.runner.worker import Pool, Result

MAX_EVENT_BYTES = 5 * 1024 * 1024
"""Lambda takes 6 MB; base64 and the envelope have to fit as well."""


@dataclass(frozen=True, slots=True)
class KafkaRecord:
    """A polled record."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def topic_partition(self) -> str:
        return f"{self.topic}-{self.partition}"

    @property
    def size(self) -> int:
        """Bytes in the event, about."""
        return (len(self.key or b"") + len(self.value or b"")) * 4 // 3 + 300


def record_of(message: Message) -> KafkaRecord:
    return KafkaRecord(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.timestamp()[1],
        _bytes(message.key()),
        _bytes(message.value()),
        tuple((str(header[0]), _bytes(header[1])) for header in message.headers() or []),
    )


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def lambda_event(records: Sequence[KafkaRecord], stream_arn: str, brokers: str) -> dict[str, Any]:
    """The MSK event: key and value in base64, header values as lists of signed bytes, as the Java poller sends them."""
    by_partition: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_partition.setdefault(record.topic_partition, []).append(_event_record(record))
    return {
        "eventSource": "aws:kafka",
        "eventSourceArn": stream_arn,
        "bootstrapServers": brokers,
        "records": by_partition,
    }


def _event_record(record: KafkaRecord) -> dict[str, Any]:
    event = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp_ms,
        "timestampType": "CREATE_TIME",
        "headers": [{name: [b - 256 if b > 127 else b for b in value or b""]} for name, value in record.headers],
    }
    for name, value in (("key", record.key), ("value", record.value)):
        event[name] = None if value is None else base64.b64encode(value).decode()
    return event


@dataclass(slots=True)
class Partition:
    """A partition's records that are polled but not yet done."""

    waiting: deque[KafkaRecord] = field(default_factory=deque)
    busy: bool = False
    paused: bool = False
    since: float = 0.0
    generation: int = 0


class KafkaSource:
    """Feeds one function from one topic.

    One batch per partition is in flight; a batch mixes partitions, so that a quiet topic needs one process.
    """

    def __init__(
        self, event: KafkaEvent, pool: Pool, brokers: str, destination: FailureDestination, log: Callable[[str], None]
    ) -> None:
        self.event, self.pool = event, pool
        self._brokers, self._destination, self._log = brokers, destination, log
        self._policy = Policy(event.bisect, event.max_retry_attempts, event.max_record_age_seconds)
        self._partitions: dict[int, Partition] = {}
        self._finished: queue.SimpleQueue[tuple[Mapping[str, int], Sequence[int]]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._runners = ThreadPoolExecutor(pool.limit, thread_name_prefix=f"{pool.spec.name}")
        self._consumer = Consumer(self._consumer_config())
        self._thread = threading.Thread(target=self._run, name=f"poll {event.topic}", daemon=True)
        self.lag = 0
        self._lag_due = 0.0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(8)

    def _consumer_config(self) -> dict[str, Any]:
        return {
            "bootstrap.servers": self._brokers,
            "group.id": self.event.group_id,
            "client.id": f"poller-{self.pool.spec.name}",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 20,
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 1000,
            "topic.metadata.refresh.interval.ms": 10_000,
            "reconnect.backoff.max.ms": 1000,
            "queued.max.messages.kbytes": 16_384,
            "log_level": 0,
        }

    def _run(self) -> None:
        self._consumer.subscribe([self.event.topic], on_assign=self._assigned, on_revoke=self._revoked)
        while not self._stopping.is_set():
            try:
                self._poll()
                self._settle()
                self._dispatch()
                self._measure_lag()
            except KafkaException as error:
                self._log(f"{self.event.topic}: {error}")
                self._stopping.wait(0.5)
        self._runners.shutdown(wait=True, cancel_futures=True)
        self._settle()
        self._consumer.close()

    def _poll(self) -> None:
        idle = not any(p.busy or p.waiting for p in self._partitions.values())
        for message in self._consumer.consume(256, 0.05 if idle else 0.005):
            if message.error():
                self._log(f"{self.event.topic}: {message.error()}")
                continue
            record = record_of(message)
            partition = self._partitions.setdefault(record.partition, Partition())
            if not partition.waiting:
                partition.since = time.monotonic()
            partition.waiting.append(record)
        self._limit_buffers()

    def _limit_buffers(self) -> None:
        """Pause partitions that have two batches waiting: what was polled is not worth more memory."""
        for number, partition in self._partitions.items():
            full = len(partition.waiting) >= 2 * self.event.batch_size
            if full != partition.paused:
                where = [TopicPartition(self.event.topic, number)]
                (self._consumer.pause if full else self._consumer.resume)(where)
                partition.paused = full

    def _measure_lag(self) -> None:
        """Records that wait here or on the broker, once a second; only this thread may ask the consumer."""
        if time.monotonic() < self._lag_due:
            return
        self._lag_due = time.monotonic() + 1
        total = sum(len(partition.waiting) for partition in self._partitions.values())
        for position in self._consumer.position(self._consumer.assignment()):
            _, high = self._consumer.get_watermark_offsets(position, cached=True)
            total += max(0, high - position.offset) if position.offset >= 0 else 0
        self.lag = total

    def _dispatch(self) -> None:
        while batch := self._next_batch():
            numbers = sorted({record.partition for record in batch})
            for number in numbers:
                self._partitions[number].busy = True
            generation = {number: self._partitions[number].generation for number in numbers}
            self._runners.submit(self._work, batch, generation)

    def _next_batch(self) -> list[KafkaRecord]:
        """Records of free partitions, once a batch is full or its window is over."""
        free = [p for p in self._partitions.values() if p.waiting and not p.busy]
        if not free or self.pool.in_flight >= self.pool.limit:
            return []
        oldest = min(p.since for p in free)
        enough = sum(len(p.waiting) for p in free) >= self.event.batch_size
        if not enough and time.monotonic() - oldest < self.event.window_seconds:
            return []
        batch: list[KafkaRecord] = []
        size = 0
        for partition in sorted(free, key=lambda p: p.since):
            while partition.waiting and len(batch) < self.event.batch_size:
                if batch and size + partition.waiting[0].size > MAX_EVENT_BYTES:
                    return batch
                size += partition.waiting[0].size
                batch.append(partition.waiting.popleft())
            partition.since = time.monotonic()
        return batch

    def _work(self, records: list[KafkaRecord], generation: Mapping[int, int]) -> None:
        """Invoke until every record is done or given up; partitions that are done are released at once."""
        released: set[str] = set()
        batches: deque[Batch[KafkaRecord]] = deque([Batch(tuple(records))])
        while batches and not self._stopping.is_set():
            batch = batches.popleft()
            result = self.pool.invoke(lambda_event(batch.records, self.event.stream_arn, self._brokers))
            decision = decide(batch, result.failed, result.payload, self._policy, int(time.time() * 1000))
            if not self._give_up(decision.given_up, result):
                decision = decide(batch, True, None, Policy(False, -1, -1), 0)
            batches.extendleft(reversed(decision.again))
            self._release(records, batches, released, generation)
            if decision.again:
                self._stopping.wait(backoff_seconds(decision.again[0].attempts))

    def _release(
        self,
        records: Sequence[KafkaRecord],
        batches: Sequence[Batch[KafkaRecord]],
        released: set[str],
        generation: Mapping[int, int],
    ) -> None:
        still_open = {record.topic_partition for batch in batches for record in batch.records}
        done = {name: at for name, at in committable(records, list(batches)).items() if name not in released}
        free = {r.topic_partition: r.partition for r in records if r.topic_partition not in still_open | released}
        released |= free.keys()
        current = [n for n in free.values() if self._partitions[n].generation == generation[n]]
        self._finished.put((done, current))

    def _settle(self) -> None:
        """Commit and free what the runners finished; commits belong to the polling thread."""
        offsets: dict[str, int] = {}
        while not self._finished.empty():
            done, free = self._finished.get()
            offsets |= done
            for number in free:
                self._partitions[number].busy = False
        if offsets:
            where = [TopicPartition(self.event.topic, int(n.rpartition("-")[2]), at) for n, at in offsets.items()]
            self._consumer.commit(offsets=where, asynchronous=True)

    def _give_up(self, records: Sequence[KafkaRecord], result: Result) -> bool:
        """Hand over records that will not be tried again; False when the destination did not take them."""
        if not records:
            return True
        try:
            self._destination.send(records, self.event, self.pool.spec.name, result)
        except Exception as error:
            self._log(f"{self.event.topic}: failure destination: {error}")
            return False
        return True

    def _assigned(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for assigned in partitions:
            self._reset(assigned.partition)

    def _revoked(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for revoked in partitions:
            self._reset(revoked.partition)

    def _reset(self, number: int) -> None:
        """Forget what was polled: it comes again from the last commit, perhaps to another consumer."""
        old = self._partitions.get(number, Partition())
        self._partitions[number] = Partition(generation=old.generation + 1)
