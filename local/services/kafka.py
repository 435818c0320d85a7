"""Apache Kafka: one KRaft node from Maven Central's jars; librdkafka's in-memory cluster where Java is missing."""

import base64
import re
import shutil
import subprocess
import sys
import uuid
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from confluent_kafka.admin import AdminClient

from local.services.process import ChildService, ServiceFailed, free_port, require_port
from local.services.tools import folder_of, once

OLDEST_JAVA = 17
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
        self._home, self._jars = state_dir.absolute() / "kafka", folder_of(tools_dir, "kafka", POM.read_text())
        self.environment = {"KAFKA_BROKERS": f"127.0.0.1:{self.port}"}

    @cached_property
    def in_memory(self) -> bool:
        """Whether only librdkafka's forgetful cluster can run here."""
        return not (_java_version() >= OLDEST_JAVA and (self._jars.exists() or shutil.which("mvn")))

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
        brokers = self.environment["KAFKA_BROKERS"]
        client = AdminClient({"bootstrap.servers": brokers, "log_level": 0, "reconnect.backoff.max.ms": 100})
        return bool(client.list_topics(timeout=1).brokers)

    @property
    def _address(self) -> Path:
        return self._home / "in-memory-address"

    @property
    def _properties(self) -> Path:
        return self._home / "server.properties"

    def _configure(self) -> None:
        data = self._home / "data"
        # A killed broker leaves the libraries there that it had unpacked.
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir(parents=True)
        (self._home / "log4j2.properties").write_text(LOGGING)
        self._properties.write_text(PROPERTIES.format(port=self.port, controller=self._controller_port, data=data))
        if not (data / "meta.properties").exists():
            self._format()

    @property
    def _temporary(self) -> Path:
        return self._home / "tmp"

    def _java(self, *options: str) -> list[str]:
        quick_start = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")
        logging = f"-Dlog4j2.configurationFile={self._home / 'log4j2.properties'}"
        temporary = f"-Djava.io.tmpdir={self._temporary}"
        return ["java", *options, *quick_start, logging, temporary, "-cp", f"{self._jars}/*"]

    def _format(self) -> None:
        # "A" in front: Kafka's tools take a leading "-" for an option.
        identity = "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
        command = ["kafka.tools.StorageTool", "format", "-t", identity, "-c", str(self._properties)]
        done = subprocess.run([*self._java("-Xmx128m"), *command], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServiceFailed(f"kafka: preparing {self._home} failed: {done.stderr or done.stdout}")


def _java_version() -> int:
    """The major version of the Java on the path; 0 where there is none, or a stand-in that only offers one."""
    java = shutil.which("java")
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr if java else ""
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(found.group(1)) if found else 0


def _fetch_jars(target: Path) -> None:
    # -U: Maven otherwise remembers for a day what an earlier attempt could not reach.
    command = ["mvn", "-q", "-B", "-U", "-f", str(POM), "dependency:copy-dependencies", "-DincludeScope=runtime"]
    done = subprocess.run([*command, f"-DoutputDirectory={target}"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServiceFailed(
            f"kafka: Maven could not fetch the broker: {(done.stdout + done.stderr)[-2000:]}\n"
            "Check the network, or set KAFKA_BROKERS to a broker that runs elsewhere."
        )
