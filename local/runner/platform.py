"""The runner: every function of a template with its event sources, started and stopped as one."""

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from deeplens.topics import TOPICS

from local.runner.destination import FailureDestination
from local.runner.http_gateway import HttpGateway, Route
from local.runner.kafka_source import KafkaSource
from local.runner.schedule_source import ScheduleSource
from local.runner.sqs_source import SqsSource
from local.runner.template import HttpEvent, KafkaEvent, ScheduleEvent, SqsEvent, Template, load
from local.runner.worker import Pool, Result

HTTP_PROCESSES = 2


class Runner:
    """Runs a template on this machine.

    Parameters
    ----------
    environment : what functions get on top of the template's variables: endpoints, credentials.
    resources : local values of resources, see ``template.load``.
    processes : most processes of a Kafka function; its topic's partition count limits it as well.
    """

    def __init__(
        self,
        template: Path,
        *,
        environment: Mapping[str, str],
        state_dir: Path,
        log_dir: Path,
        host: str,
        port: int,
        parameters: Mapping[str, str] | None = None,
        resources: Mapping[str, str] | None = None,
        processes: int = 3,
    ) -> None:
        self.template: Template = load(template, parameters or {}, resources or {})
        self._environment, self._processes = environment, processes
        self._log_dir, self._lock = log_dir, threading.Lock()
        self.pools = {
            spec.name: Pool(spec, environment, log_dir, self._limit(spec.events)) for spec in self.template.functions
        }
        self._destination = FailureDestination(environment.get("KAFKA_BROKERS", ""), state_dir / "failed-invocations")
        self._sources = [source for pool in self.pools.values() for source in self._sources_of(pool)]
        routes = [
            Route(event, pool)
            for pool in self.pools.values()
            for event in pool.spec.events
            if isinstance(event, HttpEvent)
        ]
        self._gateway = HttpGateway(routes, host, port)
        # Processes end with the thread that starts them, so the warming threads stay until the end.
        self._warmers = ThreadPoolExecutor(os.cpu_count() or 2, thread_name_prefix="warm")

    def start(self, progress: Callable[[str], None] = lambda _: None) -> None:
        """Start one process per function, then the event sources, then the HTTP gateway."""

        def warm(pool: Pool) -> None:
            pool.warm()
            progress(pool.spec.name)

        list(self._warmers.map(warm, self.pools.values()))
        for source in self._sources:
            source.start()
        self._gateway.start()

    def stop(self) -> None:
        self._gateway.stop()
        stoppers = [threading.Thread(target=source.stop) for source in self._sources]
        for thread in stoppers:
            thread.start()
        for thread in stoppers:
            thread.join(10)
        for pool in self.pools.values():
            pool.stop()
        self._warmers.shutdown(wait=False)

    def invoke(self, name: str, event: Any) -> Result:
        """Invoke a function by folder or logical id, as ``sam local invoke`` does."""
        return self.pools[self.template.function(name).name].invoke(event)

    def status(self) -> list[dict[str, Any]]:
        """One row per function: processes, invocations, errors, in flight, last duration, lag."""
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

    def _limit(self, events: tuple[Any, ...]) -> int:
        partitions = {topic.name: topic.partitions for topic in TOPICS}
        kafka = [partitions.get(event.topic, 1) for event in events if isinstance(event, KafkaEvent)]
        http = any(isinstance(event, HttpEvent) for event in events)
        return min(self._processes, max(kafka)) if kafka else HTTP_PROCESSES if http else 1

    def _sources_of(self, pool: Pool) -> list[KafkaSource | SqsSource | ScheduleSource]:
        sources: list[KafkaSource | SqsSource | ScheduleSource] = []
        for event in pool.spec.events:
            match event:
                case KafkaEvent():
                    brokers = self._environment["KAFKA_BROKERS"]
                    sources.append(KafkaSource(event, pool, brokers, self._destination, self._log))
                case SqsEvent():
                    sources.append(SqsSource(event, pool, self._sqs(), self._log))
                case ScheduleEvent():
                    sources.append(ScheduleSource(event, pool, self._log))
        return sources

    def _sqs(self) -> Any:
        from localstack_client.session import Session

        return Session().client("sqs", endpoint_url=self._environment["AWS_ENDPOINT_URL"])

    def _log(self, line: str) -> None:
        with self._lock:
            self._log_dir.mkdir(parents=True, exist_ok=True)
            with (self._log_dir / "runner.log").open("a") as log:
                log.write(line + "\n")
