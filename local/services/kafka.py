"""Apache Kafka: one KRaft node from Maven Central's jars; librdkafka's in-memory cluster where Java is missing."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

from confluent_kafka.admin import AdminClient

from local.services.process import ChildService, ServiceFailed, free_port, require_port
from local.services.tools import once

POM = Path(__file__).resolve().parents[1] / "kafka" / "pom.xml"

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={data}
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
auto.create.topics.enable=false
num.partitions=3
offsets.topic.num.partitions=3
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.segment.bytes=67108864
log.cleaner.dedupe.buffer.size=16777216
"""

LOGGING = """\
status=error
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c{1} %m%n
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
"""


class KafkaService(ChildService):
    """A real broker on ``port``; records survive ``kill`` and restart.

    Parameters
    ----------
    port : 0 for any free one.
    state_dir : data stays in ``state_dir/kafka``.
    tools_dir : the jars, fetched once by Maven.
    """

    name: ClassVar = "kafka"

    def __init__(self, port: int, state_dir: Path, tools_dir: Path, log_dir: Path) -> None:
        super().__init__(log_dir)
        self.port = port or free_port()
        self._controller_port = free_port()
        self._home, self._jars = state_dir.absolute() / "kafka", tools_dir.absolute() / "kafka"
        self.environment = {"KAFKA_BROKERS": f"127.0.0.1:{self.port}"}

    @property
    def in_memory(self) -> bool:
        """Whether only librdkafka's forgetful cluster can run here."""
        return not (shutil.which("java") and (self._jars.exists() or shutil.which("mvn")))

    def prepare(self) -> None:
        if not self.in_memory:
            once(self._jars, _fetch_jars)

    def launch(self) -> None:
        if self.in_memory:
            self._home.mkdir(parents=True, exist_ok=True)
            self._address.unlink(missing_ok=True)
            self.spawn([sys.executable, "-m", "local.services.memory_broker", self._address])
            return
        require_port(self.name, "127.0.0.1", self.port, "DEEPLENS_KAFKA_PORT")
        self._configure()
        self.spawn([*self._java("-Xmx512m", "-Xms128m"), "kafka.Kafka", self._properties])

    def answers(self) -> bool:
        if self.in_memory:
            # It chooses its port itself, and says which once it listens.
            self.environment["KAFKA_BROKERS"] = self._address.read_text()
        client = AdminClient({"bootstrap.servers": self.environment["KAFKA_BROKERS"], "log_level": 0})
        return bool(client.list_topics(timeout=1).brokers)

    @property
    def _address(self) -> Path:
        return self._home / "in-memory-address"

    @property
    def _properties(self) -> Path:
        return self._home / "server.properties"

    def _configure(self) -> None:
        data = self._home / "data"
        self._home.mkdir(parents=True, exist_ok=True)
        (self._home / "log4j2.properties").write_text(LOGGING)
        self._properties.write_text(PROPERTIES.format(port=self.port, controller=self._controller_port, data=data))
        if not (data / "meta.properties").exists():
            identity = self._tool("random-uuid")
            self._tool("format", "-t", identity, "-c", str(self._properties))

    def _java(self, *options: str) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={self._home / 'log4j2.properties'}"
        return ["java", *options, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", logging, "-cp", f"{self._jars}/*"]

    def _tool(self, *arguments: str) -> str:
        command = [*self._java("-Xmx128m"), "kafka.tools.StorageTool", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServiceFailed(f"kafka: preparing {self._home} failed: {done.stderr or done.stdout}")
        return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


def _fetch_jars(target: Path) -> None:
    command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", "-DincludeScope=runtime"]
    done = subprocess.run([*command, f"-DoutputDirectory={target}"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServiceFailed(
            f"kafka: Maven could not fetch the broker: {(done.stdout + done.stderr)[-2000:]}\n"
            "Check the network, or set KAFKA_BROKERS to a broker that runs elsewhere."
        )
