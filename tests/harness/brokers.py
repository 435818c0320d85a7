"""The broker that tests run on: Apache Kafka as our own process, or a container with ``BROKER=redpanda``."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from confluent_kafka.admin import AdminClient

from local import stack
from local.services.kafka import KafkaService
from local.services.process import ChildService, free_port

IMAGE = "docker.redpanda.com/redpandadata/redpanda:v26.2.1"
PORT = 9092


def command(advertised_port: int) -> list[str]:
    """Redpanda's command line; a test compares it with ``local/compose.yaml``."""
    return [
        "redpanda",
        "start",
        "--mode=dev-container",
        "--smp=1",
        "--memory=512M",
        f"--kafka-addr=PLAINTEXT://0.0.0.0:{PORT}",
        f"--advertise-kafka-addr=PLAINTEXT://127.0.0.1:{advertised_port}",
        "--set=redpanda.auto_create_topics_enabled=false",
    ]


class RedpandaService(ChildService):
    """Redpanda on ``port``, with the interface of ``KafkaService``; records survive ``kill`` and another ``launch``.

    Its processes belong to the engine, so it has no ``pid``: chaos neither kills nor freezes it.
    """

    name: ClassVar = "kafka"
    start_seconds: ClassVar = 120
    in_memory: ClassVar = False

    def __init__(self, port: int, state_dir: Path, tools_dir: Path, log_dir: Path) -> None:
        super().__init__(log_dir)
        self.port = port or free_port()
        self.environment = {"KAFKA_BROKERS": f"127.0.0.1:{self.port}"}
        self._container: Any = None
        self._launched = False

    def launch(self) -> None:
        if self._container is None:
            from testcontainers.core.container import DockerContainer

            self._container = DockerContainer(IMAGE).with_command(command(self.port))
            self._container.with_bind_ports(PORT, ("127.0.0.1", self.port)).start()
        else:
            self._container.get_wrapped_container().start()
        self._launched = True

    def answers(self) -> bool:
        client = AdminClient({"bootstrap.servers": self.environment["KAFKA_BROKERS"], "log_level": 0})
        return bool(client.list_topics(timeout=1).brokers)

    def alive(self) -> bool:
        if self._container is None:
            return False
        container = self._container.get_wrapped_container()
        container.reload()
        return bool(container.status == "running")

    def died(self) -> bool:
        return self._launched and not self.alive()

    def kill(self) -> None:
        self._launched = False
        if self.alive():
            self._container.get_wrapped_container().kill()

    def stop(self) -> None:
        container, self._container, self._launched = self._container, None, False
        if container is not None:
            container.stop()


@dataclass(frozen=True, slots=True)
class Broker:
    """What the tests have to know of a broker.

    Attributes
    ----------
    service : None if it cannot run here.
    applies : settings of a topic that it applies.
    ignores : settings that it takes and does not apply; any others it refuses.
    """

    service: type[KafkaService | RedpandaService] | None
    applies: frozenset[str]
    ignores: frozenset[str]


# Every difference that our code meets. It uses neither transactions nor access control lists, which differ as well.
COMMON = frozenset({"cleanup.policy", "compression.type", "retention.ms"})
BROKERS: Mapping[str, Broker] = {
    "kafka": Broker(
        KafkaService,
        applies=COMMON | {"min.insync.replicas"},
        ignores=frozenset(),
    ),
    "redpanda": Broker(
        RedpandaService,
        applies=COMMON,
        # Its writes always wait for a majority.
        ignores=frozenset({"min.insync.replicas"}),
    ),
    # https://docs.aws.amazon.com/msk/latest/developerguide/serverless-config.html
    "serverless": Broker(None, applies=COMMON, ignores=frozenset()),
}


def use_chosen() -> None:
    """Let every stack that this process starts run on the chosen broker."""
    vars(stack)["KafkaService"] = chosen().service


def chosen() -> Broker:
    """The broker that ``BROKER`` names; Kafka if it names none."""
    broker = BROKERS[name := os.environ.get("BROKER") or "kafka"]
    if broker.service is None:
        raise ValueError(f"BROKER={name} cannot run here: use kafka or redpanda")
    return broker
