"""Kafka event source: poll a topic, invoke a function with Lambda's exact event, commit finished records."""

import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from local.runner.batches import Batch, Decision, Policy, backoff_seconds, committable, decide
from local.runner.destination import FailureDestination
from local.runner.kafka_event import KafkaRecord, lambda_event, record_of
from local.runner.template import KafkaEvent
from local.runner.worker import Pool, Result

MAX_EVENT_BYTES = 5 * 1024 * 1024
"""Limit of an event's records. Lambda accepts 6 MB, which the envelope has to fit into as well."""
POLL_RECORDS = 256
MAX_BUFFERED_RECORDS = 512
"""Limit of records polled ahead per partition, or two batches if those have more records."""
BUSY_POLL_SECONDS, IDLE_POLL_SECONDS = 0.01, 0.25
COMMIT_RETRY_SECONDS = 2.0


@dataclass(slots=True)
class Partition:
    """State of an assigned partition: the records that are polled but not finished, and its offsets.

    Attributes
    ----------
    waiting_since : when the oldest waiting record was polled, by the monotonic clock.
    next_offset : all records before it are finished; -1 if none is.
    committed : the last offset whose commit the broker confirmed; -1 if none was.
    generation : grows with each assignment and revocation, so that late results of an older one are recognised.
    """

    waiting: deque[KafkaRecord] = field(default_factory=deque)
    in_flight: int = 0
    paused: bool = False
    waiting_since: float = 0.0
    next_offset: int = -1
    committed: int = -1
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """Result of an invocation: the offsets to commit and the partitions without open records.

    Attributes
    ----------
    generation : of each partition when the batch was dispatched.
    """

    offsets: Mapping[int, int]
    free: Sequence[int]
    generation: Mapping[int, int]


class KafkaSource:
    """Feed one function from one topic.

    At most one batch per partition is in flight. A batch may mix partitions, so that a topic with few records needs
    one process. Only the polling thread touches the consumer and the partitions; invocations run in other threads and
    report their ``Progress`` to it.

    Attributes
    ----------
    positions : per assigned partition, how many records are not finished, and its end; a second old at most.
    lag : the sum of what is not finished.
    """

    _consumer: Consumer

    def __init__(
        self, event: KafkaEvent, pool: Pool, brokers: str, destination: FailureDestination, log: Callable[[str], None]
    ) -> None:
        self.event, self.pool = event, pool
        self.lag = 0
        self.positions: dict[int, tuple[int, int]] = {}
        self._brokers, self._destination, self._log = brokers, destination, log
        self._policy = Policy(event.partial, event.bisect, event.max_retry_attempts, event.max_record_age_seconds)
        self._partitions: dict[int, Partition] = {}
        self._commit_due = self._lag_due = 0.0
        self._progress: queue.SimpleQueue[Progress] = queue.SimpleQueue()
        self._stopping = threading.Event()
        # One thread per partition in flight: a batch that waits for its retry must not hold up another partition.
        self._runners = ThreadPoolExecutor(64, thread_name_prefix=pool.spec.name)
        self._thread = threading.Thread(target=self._run, name=f"poll {event.topic}", daemon=True)

    def start(self) -> None:
        self._consumer = Consumer(self._consumer_config())
        self._thread.start()

    def stop(self) -> None:
        """Take no more records; batches in flight may still end and be committed until ``join``."""
        self._stopping.set()

    def join(self, seconds: float) -> bool:
        """Wait until all results are committed and the group is left; return False after ``seconds``."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _consumer_config(self) -> dict[str, Any]:
        return {
            "bootstrap.servers": self._brokers,
            "group.id": self.event.group_id,
            "client.id": f"poller-{self.pool.spec.name}",
            "enable.auto.commit": False,
            "on_commit": self._committed,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 500,
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
            except Exception as error:
                # The thread must survive any error, or its partitions would stop.
                self._log(f"{self.event.topic}: {error!r}")
                self._stopping.wait(0.5)
        self._runners.shutdown(wait=True, cancel_futures=True)
        try:
            self._settle()
        finally:
            self._consumer.close()

    def _poll(self) -> None:
        """Wait for one message, then take those that are there: ``consume`` alone would wait for a full batch."""
        idle = not any(p.in_flight or p.waiting for p in self._partitions.values())
        first = self._consumer.poll(IDLE_POLL_SECONDS if idle else BUSY_POLL_SECONDS)
        if first is not None:
            for message in (first, *self._consumer.consume(POLL_RECORDS, 0)):
                self._keep(message)
        self._limit_buffers()

    def _keep(self, message: Message) -> None:
        if message.error():
            self._log(f"{self.event.topic}: {message.error()}")
            return
        record = record_of(message)
        partition = self._partitions.setdefault(record.partition, Partition())
        if not partition.waiting:
            partition.waiting_since = time.monotonic()
        partition.waiting.append(record)

    def _limit_buffers(self) -> None:
        """Pause partitions whose buffer is full, and resume the others, to bound memory."""
        limit = max(MAX_BUFFERED_RECORDS, 2 * self.event.batch_size)
        for number, partition in self._partitions.items():
            full = len(partition.waiting) >= limit
            if full != partition.paused:
                where = [TopicPartition(self.event.topic, number)]
                (self._consumer.pause if full else self._consumer.resume)(where)
                partition.paused = full

    def _measure_lag(self) -> None:
        """Count the unfinished records, here and on the broker, once a second."""
        if time.monotonic() < self._lag_due:
            return
        self._lag_due = time.monotonic() + 1
        positions = {}
        for position in self._consumer.position(self._consumer.assignment()):
            _, high = self._consumer.get_watermark_offsets(position, cached=True)
            partition = self._partitions.get(position.partition, Partition())
            here = len(partition.waiting) + partition.in_flight
            behind = max(0, high - position.offset) if position.offset >= 0 else 0
            positions[position.partition] = (here + behind, max(0, high))
        self.positions, self.lag = positions, sum(lag for lag, _ in positions.values())

    def _dispatch(self) -> None:
        while batch := self._next_batch():
            for record in batch:
                self._partitions[record.partition].in_flight += 1
            generation = {record.partition: self._partitions[record.partition].generation for record in batch}
            self._runners.submit(self._work, batch, generation)

    def _next_batch(self) -> list[KafkaRecord]:
        """Return records of free partitions if a batch is full or its window is over."""
        ready = (p for p in self._partitions.values() if p.waiting and not p.in_flight)
        free = sorted(ready, key=lambda partition: partition.waiting_since)
        idle = self.pool.limit - self.pool.in_flight
        if not free or idle <= 0:
            return []
        full = sum(len(p.waiting) for p in free) >= self.event.batch_size
        if not full and time.monotonic() - free[0].waiting_since < self.event.window_seconds:
            return []
        batch: list[KafkaRecord] = []
        size = 0
        # A backlog is spread over the idle processes, or one batch would hold every partition.
        share = math.ceil(len(free) / idle) if full else len(free)
        for partition in free[:share]:
            while partition.waiting and len(batch) < self.event.batch_size:
                size += partition.waiting[0].size
                if batch and size > MAX_EVENT_BYTES:
                    return batch
                batch.append(partition.waiting.popleft())
                partition.waiting_since = time.monotonic()
        return batch

    def _work(self, records: list[KafkaRecord], generation: Mapping[int, int]) -> None:
        """Invoke until every record is finished or given up; release each partition as soon as it is finished."""
        released: set[int] = set()
        batches: deque[Batch[KafkaRecord]] = deque([Batch(tuple(records))])
        while batches and not self._stopping.is_set():
            batch = batches.popleft()
            result = self.pool.invoke(lambda_event(batch.records, self.event.stream_arn, self._brokers))
            if result.failed and self._stopping.is_set():
                return  # The stop ended the invocation, not its records: they are delivered again after the restart.
            decision = decide(batch, result.failed, result.payload, self._policy, int(time.time() * 1000))
            if not self._give_up(decision.given_up, result):
                decision = Decision((Batch(batch.records, batch.attempts + 1),))
            batches.extendleft(reversed(decision.retries))
            self._release(records, batches, released, generation)
            if decision.retries:
                self._stopping.wait(backoff_seconds(decision.retries[0].attempts))

    def _release(
        self,
        records: Sequence[KafkaRecord],
        batches: Sequence[Batch[KafkaRecord]],
        released: set[int],
        generation: Mapping[int, int],
    ) -> None:
        number = {record.topic_partition: record.partition for record in records}
        done = {number[name]: offset for name, offset in committable(records, batches).items()}
        still_open = {record.partition for batch in batches for record in batch.records}
        free = set(number.values()) - still_open - released
        offsets = {partition: offset for partition, offset in done.items() if partition not in released}
        released |= free
        self._progress.put(Progress(offsets, sorted(free), generation))

    def _settle(self) -> None:
        """Apply the progress of invocations: free their partitions and commit their offsets."""
        while not self._progress.empty():
            progress = self._progress.get()
            for number in progress.free:
                self._partitions[number].in_flight = 0
            for number, offset in progress.offsets.items():
                # After a rebalance another consumer may own the partition and have committed a higher offset.
                if self._partitions[number].generation == progress.generation[number]:
                    self._partitions[number].next_offset = offset
                    self._commit_due = 0.0
        if time.monotonic() >= self._commit_due:
            self._commit()

    def _commit(self) -> None:
        """Commit offsets that the broker has not confirmed; a broker that dies loses commits without an error."""
        self._commit_due = time.monotonic() + COMMIT_RETRY_SECONDS
        offsets = [
            TopicPartition(self.event.topic, number, partition.next_offset)
            for number, partition in self._partitions.items()
            if partition.next_offset > partition.committed
        ]
        if offsets:
            self._consumer.commit(offsets=offsets, asynchronous=True)

    def _committed(self, error: KafkaError | None, offsets: list[TopicPartition]) -> None:
        for offset in offsets:
            if error or offset.error:
                self._log(f"{self.event.topic}: commit: {error or offset.error}")
            elif offset.partition in self._partitions:
                self._partitions[offset.partition].committed = offset.offset

    def _give_up(self, records: Sequence[KafkaRecord], result: Result) -> bool:
        """Send records to the failure destination; return False if it did not accept them."""
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

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        with suppress(KafkaException):
            consumer.resume(partitions)
        for revoked in partitions:
            self._reset(revoked.partition)

    def _reset(self, number: int) -> None:
        """Drop polled records: they are read again from the last commit, perhaps by another consumer.

        A batch in flight still counts until it ends, because a partition has one batch at a time.
        """
        old = self._partitions.get(number, Partition())
        self._partitions[number] = Partition(in_flight=old.in_flight, generation=old.generation + 1)
