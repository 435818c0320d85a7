"""Start and stop every function of a template together with its event sources."""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deeplens.events.topics import TOPICS

from local.runner.destination import FailureDestination
from local.runner.http_gateway import HttpGateway, Route
from local.runner.kafka_source import KafkaSource
from local.runner.logs import rotate
from local.runner.object_notices import ObjectNotifier
from local.runner.object_urls import ObjectUrls
from local.runner.queues import create_queues, create_topics, load_with_queues
from local.runner.schedule_source import ScheduleSource
from local.runner.sqs_source import SqsSource
from local.runner.template import HttpEvent, KafkaEvent, ScheduleEvent, SqsEvent
from local.runner.worker import Pool, Result

STOP_SECONDS = 3.0
"""Grace period of invocations in flight. Then they are killed, and their records are delivered again."""
type Source = KafkaSource | SqsSource | ScheduleSource


class Runner:
    """Run a template on this machine.

    Parameters
    ----------
    environment : variables of the platform: endpoints, credentials.
    environment_of : what a function gets of them on top of the template's, by its name; by default all.
    resources : local values of resources, see ``template.load``.
    ports : the HTTP API listens on all of them; events name the first.
    processes : maximum number of processes of a function; its partition count limits a Kafka function as well.
    """

    def __init__(
        self,
        template: Path,
        *,
        environment: Mapping[str, str],
        state_dir: Path,
        log_dir: Path,
        host: str,
        ports: Sequence[int],
        environment_of: Callable[[str, Mapping[str, str]], Mapping[str, str]] = lambda _, environment: environment,
        parameters: Mapping[str, str] | None = None,
        resources: Mapping[str, str] | None = None,
        processes: int = 3,
    ) -> None:
        resources = resources or {}
        self.template = load_with_queues(template, environment, parameters or {}, resources)
        # Queues and topics in `resources` exist elsewhere; the others are created here.
        self._queues = {name: queue for name, queue in self.template.queues.items() if f"{name}.Arn" not in resources}
        self._topics = {name: topic for name, topic in self.template.topics.items() if name not in resources}
        self._environment, self._processes = environment, processes
        self._log_dir, self._lock = log_dir, threading.Lock()
        self.pools = {
            spec.name: Pool(spec, environment_of(spec.name, environment), log_dir, self._limit(spec.events))
            for spec in self.template.functions
        }
        self._destination = FailureDestination(environment.get("KAFKA_BROKERS", ""), state_dir / "failed-invocations")
        self._sources = [source for pool in self.pools.values() for source in self._sources_of(pool)]
        routes = [
            Route(event, pool)
            for pool in self.pools.values()
            for event in pool.spec.events
            if isinstance(event, HttpEvent)
        ]
        notifier = ObjectNotifier(lambda: self._aws("sqs"), self.template.environment("OBJECT_QUEUE_URL"), self._log)
        objects = ObjectUrls(Path(environment.get("NFS_ROOT", "")), environment.get("URL_SIGNING_KEY", ""), notifier)
        self._gateway = HttpGateway(routes, host, ports, objects)

    def start(self, progress: Callable[[str], None] = lambda _: None) -> None:
        """Start one process per function, then the event sources, then the HTTP gateway."""

        def warm(pool: Pool) -> None:
            pool.warm()
            progress(pool.spec.name)

        if self._queues and "AWS_ENDPOINT_URL" in self._environment:
            self._create_queues()
        with ThreadPoolExecutor(os.cpu_count() or 2, thread_name_prefix="warm") as warmers:
            # What nothing invokes here, such as a schedule that is switched off, starts when a person invokes it.
            list(warmers.map(warm, [pool for pool in self.pools.values() if pool.spec.events]))
        for source in self._sources:
            source.start()
        self._gateway.start()

    def stop(self) -> None:
        """Stop the event sources, finish or kill invocations in flight, and commit, in about five seconds."""
        deadline = time.monotonic() + STOP_SECONDS
        for source in self._sources:
            source.stop()
        self._gateway.stop(STOP_SECONDS)
        for source in self._sources:
            source.join(max(0.0, deadline - time.monotonic()))
        with ThreadPoolExecutor(len(self.pools) or 1) as stoppers:
            list(stoppers.map(Pool.stop, self.pools.values()))
        for source in self._sources:
            if not source.join(max(0.1, deadline + 1.5 - time.monotonic())):
                self._log(f"{type(source).__name__} of {source.pool.spec.name} did not end in time")
        self._destination.close()

    def invoke(self, name: str, event: Any) -> Result:
        """Invoke a function by folder or logical id, as ``sam local invoke`` does."""
        return self.pools[self.template.function(name).name].invoke(event)

    def status(self) -> list[dict[str, Any]]:
        """Return a row per function: processes, invocations, errors, in flight, last duration, lag."""
        lags: dict[str, int] = {}
        for source in self._sources:
            if isinstance(source, KafkaSource):
                lags[source.pool.spec.name] = lags.get(source.pool.spec.name, 0) + source.lag
        return [
            {
                "function": name,
                "processes": len(pool.pids),
                "invocations": pool.invocations,
                "errors": pool.errors,
                "in_flight": pool.in_flight,
                "last_ms": pool.last_ms,
                "lag": lags.get(name),
            }
            for name, pool in self.pools.items()
        ]

    def positions(self) -> list[tuple[str, str, int, int, int]]:
        """Group, topic, partition, unfinished records and end of every partition that is read here."""
        return [
            (source.event.group_id, source.event.topic, partition, lag, end)
            for source in self._sources
            if isinstance(source, KafkaSource)
            for partition, (lag, end) in source.positions.items()
        ]

    def _limit(self, events: tuple[Any, ...]) -> int:
        partitions = {topic.name: topic.partitions for topic in TOPICS}
        kafka = [partitions.get(event.topic, 1) for event in events if isinstance(event, KafkaEvent)]
        http = any(isinstance(event, HttpEvent) for event in events)
        return min(self._processes, max(kafka)) if kafka else self._processes if http else 1

    def _sources_of(self, pool: Pool) -> list[Source]:
        sources: list[Source] = []
        for event in pool.spec.events:
            match event:
                case KafkaEvent():
                    brokers = self._environment["KAFKA_BROKERS"]
                    sources.append(KafkaSource(event, pool, brokers, self._destination, self._log))
                case SqsEvent():
                    sources.append(SqsSource(event, pool, self._aws("sqs"), self._log, self._create_queues))
                case ScheduleEvent():
                    sources.append(ScheduleSource(event, pool, self._log))
        return sources

    def _create_queues(self) -> None:
        """Create missing queues and topics. LocalStack loses messages at a restart; the schedule sends them again."""
        create_queues(self._aws("sqs"), self._queues)
        create_topics(self._aws("sns"), self._topics)

    def _aws(self, service: str) -> Any:
        import boto3

        environment = self._environment
        return boto3.client(  # type: ignore[call-overload]
            service,
            endpoint_url=environment["AWS_ENDPOINT_URL"],
            region_name=environment.get("AWS_REGION", "us-east-1"),
            aws_access_key_id=environment.get("AWS_ACCESS_KEY_ID", "test"),
            aws_secret_access_key=environment.get("AWS_SECRET_ACCESS_KEY", "test"),
        )

    def _log(self, line: str) -> None:
        with self._lock:
            self._log_dir.mkdir(parents=True, exist_ok=True)
            path = self._log_dir / "runner.log"
            rotate(path)
            with path.open("a") as log:
                log.write(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {line}\n")
