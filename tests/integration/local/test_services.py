"""The services of the local platform work, keep their durable data, and leave no process behind."""

import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import boto3
import httpx
import numpy as np
import psutil
import psycopg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from deeplens.embedding.model import ModelRef
from deeplens.embedding.open_inference import OpenInferenceEmbedder
from deeplens.settings import Settings
from PIL import Image

from local.kafka.jars import read_lock
from local.services import (
    ChildService,
    InferenceService,
    KafkaService,
    LocalStackService,
    PostgresService,
    ServiceFailed,
    VectorService,
)
from local.services.process import free_port
from local.setup.tools import REPOSITORY, make_once
from local.stack.config import LocalConfig
from local.stack.stack import ADDRESS_VARIABLES, Stack

TOOLS = REPOSITORY / ".tools"
_numbers = itertools.count(1)


def eventually(condition: Callable[[], Any], seconds: float = 15) -> Any:
    """The first true value of ``condition``; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)
    return value


# What a user of each part does: write one value and get the acknowledgement, read all values back.


def write_row(at: str, value: str) -> None:
    with psycopg.connect(at) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (value text)")
        connection.execute("INSERT INTO kept VALUES (%s)", (value,))


def read_rows(at: str) -> list[str]:
    with psycopg.connect(at) as connection:
        return [row[0] for row in connection.execute("SELECT value FROM kept")]


def write_record(at: str, value: str) -> None:
    admin = AdminClient({"bootstrap.servers": at})
    if "kept" not in admin.list_topics(timeout=10).topics:
        admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result(15)
    produce(at, "kept", value)


def produce(at: str, topic: str, value: str) -> None:
    producer, reports = Producer({"bootstrap.servers": at, "acks": "all"}), list[Any]()
    producer.produce(topic, value, on_delivery=lambda error, _: reports.append(error))
    producer.flush(15)
    assert reports == [None]


def read_records(at: str, topic: str = "kept", count: int = 1) -> list[str]:
    config = {"bootstrap.servers": at, "group.id": "unused", "auto.offset.reset": "earliest", "log_level": 0}
    consumer, found = Consumer(config), list[str]()
    # Assigned, not subscribed: joining a group takes seconds.
    consumer.assign(
        [TopicPartition(topic, number, 0) for number in consumer.list_topics(topic, 10).topics[topic].partitions]
    )

    def read() -> bool:
        found.extend(message.value().decode() for message in consumer.consume(100, 0.2) if not message.error())
        return len(found) >= count

    eventually(read)
    consumer.close()
    return found


def write_point(at: str, value: str) -> None:
    vectors = {"vectors": {"size": 4, "distance": "Cosine"}}
    if httpx.get(f"{at}/collections/kept").status_code == 404:
        httpx.put(f"{at}/collections/kept", json=vectors).raise_for_status()
    point = {"id": next(_numbers), "vector": [1, 0, 0, 0], "payload": {"value": value}}
    httpx.put(f"{at}/collections/kept/points?wait=true", json={"points": [point]}).raise_for_status()


def read_points(at: str) -> list[str]:
    question = {"query": [1, 0, 0, 0], "limit": 10, "with_payload": True}
    answer = httpx.post(f"{at}/collections/kept/points/query", json=question).raise_for_status()
    return [point["payload"]["value"] for point in answer.json()["result"]["points"]]


def s3(at: str) -> Any:
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    return boto3.client("s3", endpoint_url=at, region_name="us-east-1", **keys)


def write_object(at: str, value: str) -> None:
    s3(at).create_bucket(Bucket="kept")
    s3(at).put_object(Bucket="kept", Key=value, Body=value.encode())


def read_objects(at: str) -> list[str]:
    return [str(found["Key"]) for found in s3(at).list_objects_v2(Bucket="kept").get("Contents", [])]


def embed(at: str, _value: str) -> None:
    out = BytesIO()
    Image.new("RGB", (64, 48), "orange").save(out, "PNG")
    embeddings = OpenInferenceEmbedder(Settings(inference_url=at)).embed(
        [out.getvalue()], ModelRef("deeplens-visual", "1", 512)
    )
    assert embeddings.shape == (1, 512)
    assert np.linalg.norm(embeddings) == pytest.approx(1, abs=1e-4)


@dataclass(frozen=True)
class Part:
    """``make`` takes port and folder."""

    make: Callable[[int, Path], ChildService]
    variable: str
    setting: str
    write: Callable[[str, str], None]
    read: Callable[[str], list[str]] | None = None
    keeps: bool = False


PARTS = {
    "postgres": Part(
        lambda port, folder: PostgresService(port, folder, TOOLS, folder / "logs"),
        "DATABASE_URL",
        "DEEPLENS_POSTGRES_PORT",
        write_row,
        read_rows,
        keeps=True,
    ),
    "kafka": Part(
        lambda port, folder: KafkaService(port, folder, TOOLS, folder / "logs"),
        "KAFKA_BROKERS",
        "DEEPLENS_KAFKA_PORT",
        write_record,
        read_records,
        keeps=True,
    ),
    "vectors": Part(
        lambda port, folder: VectorService(port, folder, folder / "logs"),
        "QDRANT_URL",
        "DEEPLENS_QDRANT_PORT",
        write_point,
        read_points,
        keeps=True,
    ),
    "localstack": Part(
        lambda port, folder: LocalStackService(port, folder, TOOLS, folder / "logs"),
        "AWS_ENDPOINT_URL",
        "DEEPLENS_AWS_PORT",
        write_object,
        read_objects,
    ),
    "inference": Part(
        lambda port, folder: InferenceService(port, folder / "logs", folder / "models"),
        "INFERENCE_URL",
        "DEEPLENS_INFERENCE_PORT",
        embed,
    ),
}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # Not below pytest's folder: another run of pytest closes that to the user whom PostgreSQL runs as.
    with TemporaryDirectory(prefix="deeplens-services-") as name:
        yield Path(name)


@pytest.fixture(scope="module", params=PARTS)
def part(request: pytest.FixtureRequest) -> Part:
    return PARTS[request.param]


@pytest.fixture(scope="module")
def service(part: Part, folder: Path) -> Iterator[ChildService]:
    started = part.make(0, folder)
    started.start()
    yield started
    started.stop()


def family(service: ChildService) -> list[int]:
    """Return the processes of a service, its main process first."""
    assert service.pid is not None
    return [service.pid, *(child.pid for child in psutil.Process(service.pid).children(recursive=True))]


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_service_works_at_its_address(part: Part, service: ChildService) -> None:
    assert service.alive()
    assert set(service.environment) >= {part.variable}
    part.write(service.environment[part.variable], "first")
    if part.read:
        assert part.read(service.environment[part.variable]) == ["first"]


def test_a_killed_service_starts_again_with_its_durable_data(part: Part, service: ChildService) -> None:
    at = service.environment[part.variable]
    part.write(at, "acknowledged")
    before = family(service)
    service.kill()
    assert not service.alive()
    eventually(lambda: all(map(gone, before)))
    service.start()
    assert service.environment[part.variable] == at
    if part.read and part.keeps:
        eventually(lambda: "acknowledged" in part.read(at))
    part.write(at, "afterwards")


def test_a_taken_port_is_named_with_its_holder_and_the_setting_that_changes_it(part: Part, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        refused = part.make(port, tmp_path)
        with pytest.raises(ServiceFailed) as caught:
            refused.launch()
    message = str(caught.value)
    assert message.startswith(f"{refused.name}: port {port} is taken by ")
    assert f"(process {os.getpid()})" in message
    assert f"{part.setting}=PORT" in message
    assert refused.pid is None


def test_stop_leaves_no_process_and_frees_the_port(part: Part, service: ChildService) -> None:
    before = family(service)
    port = service.port  # type: ignore[attr-defined]
    service.stop()
    service.stop()
    assert not service.alive()
    eventually(lambda: all(map(gone, before)))
    with socket.create_server(("127.0.0.1", port)) as free:
        assert free.getsockname()[1] == port
    assert service.log_path.is_file()


DYING_PARENT = """
import sys, time
from pathlib import Path
from tests.integration.local.test_services import PARTS, family
service = PARTS[sys.argv[1]].make(0, Path(sys.argv[2]))
service.start()
print(*family(service), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("name", ["postgres", "vectors"])
def test_a_service_ends_when_its_parent_is_killed(name: str) -> None:
    with TemporaryDirectory(prefix="deeplens-orphans-") as own:
        command = [sys.executable, "-c", DYING_PARENT, name, own]
        with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdout is not None
            children = [int(pid) for pid in parent.stdout.readline().split()]
            parent.kill()
        assert children
        eventually(lambda: all(map(gone, children)))


def test_a_service_that_cannot_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    service = Script("seq 100; echo no such luck; exit 3", tmp_path)
    with pytest.raises(ServiceFailed) as caught:
        service.start()
    message = str(caught.value)
    assert message.startswith(f"script ended while starting. The end of {service.log_path}:")
    assert message.splitlines()[-1] == "no such luck"
    assert len(message.splitlines()) < 20


def test_a_service_that_never_answers_is_killed_after_the_timeout(tmp_path: Path) -> None:
    service = Script("trap '' TERM; echo still thinking; while :; do sleep 1; done", tmp_path)
    service.launch()
    eventually(lambda: "still thinking" in service.log_path.read_text())
    with pytest.raises(ServiceFailed, match=r"script did not answer within 0 s.*\n.*still thinking"):
        service.wait_ready()
    before = family(service)
    service.stop()
    assert not service.alive()
    eventually(lambda: all(map(gone, before)))


class Script(ChildService):
    """A service that never answers."""

    name = "script"
    start_seconds = 0.4
    stop_seconds = 0.2

    def __init__(self, script: str, log_dir: Path) -> None:
        super().__init__(log_dir)
        self.script = script

    def launch(self) -> None:
        self.spawn(["sh", "-c", self.script])

    def answers(self) -> bool:
        raise ConnectionError


def test_two_servers_never_share_a_folder_and_a_crash_locks_none() -> None:
    with TemporaryDirectory(prefix="deeplens-lock-") as name:
        first = PARTS["postgres"].make(0, Path(name))
        first.start()
        second = PARTS["postgres"].make(0, Path(name))
        with pytest.raises(ServiceFailed, match="already exists"):
            second.start()
        write_row(first.environment["DATABASE_URL"], "unharmed")
        first.kill()
        lock = Path(name) / "postgres" / "postmaster.pid"
        lines = lock.read_text().splitlines()
        with subprocess.Popen(["sleep", "60"], user=PostgresService(0, Path(name), TOOLS, Path(name))._user) as other:
            lock.write_text("\n".join([str(other.pid), *lines[1:]]))
            try:
                second.start()
                assert read_rows(second.environment["DATABASE_URL"]) == ["unharmed"]
            finally:
                other.kill()
                second.stop()


def test_a_broker_keeps_its_records_when_it_moves_to_another_port(tmp_path: Path) -> None:
    before, after = PARTS["kafka"].make(0, tmp_path), PARTS["kafka"].make(0, tmp_path)
    before.start()
    write_record(before.environment["KAFKA_BROKERS"], "here")
    before.stop()
    after.start()
    write_record(after.environment["KAFKA_BROKERS"], "there")
    found = read_records(after.environment["KAFKA_BROKERS"], count=2)
    after.stop()
    assert found == ["here", "there"]
    assert before.environment != after.environment


def test_a_broker_of_other_jars_than_the_locked_ones_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror, tools = tmp_path / "mirror", tmp_path / "tools"
    for jar in read_lock():
        path = mirror / jar.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"another jar")
    (tmp_path / ".m2").mkdir()
    entry = f"<mirror><mirrorOf>central</mirrorOf><url>{mirror.as_uri()}</url></mirror>"
    (tmp_path / ".m2" / "settings.xml").write_text(f"<settings><mirrors>{entry}</mirrors></settings>")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ServiceFailed, match=r"kafka: file:.*jars\.lock expects .*\n.*set KAFKA_BROKERS"):
        KafkaService(0, tmp_path, tools, tmp_path).prepare()
    assert [path.name for path in tools.iterdir() if path.is_dir()] == []


def test_a_broker_without_its_class_cache_starts_as_well(tmp_path: Path) -> None:
    broker = KafkaService(0, tmp_path, TOOLS, tmp_path)
    broker.prepare()
    broker._class_cache = tmp_path / "none"
    broker.launch()
    broker.wait_ready()
    write_record(broker.environment["KAFKA_BROKERS"], "here")
    broker.stop()
    assert "ERROR" not in broker.log_path.read_text()


def stack_ports() -> dict[str, Any]:
    """Return a configuration with free ports."""
    names = (
        "api_port",
        "identity_port",
        "inference_port",
        "kafka_port",
        "postgres_port",
        "aws_port",
        "qdrant_port",
        "telemetry_port",
    )
    return dict.fromkeys(names, 0)


def test_services_that_run_elsewhere_are_not_started(tmp_path: Path) -> None:
    config = LocalConfig(state_dir=tmp_path, **stack_ports())
    elsewhere = {"KAFKA_BROKERS": "broker.example:9092", "QDRANT_URL": "http://index.example", "DATABASE_URL": ""}
    stack = Stack(config, elsewhere)
    assert {service.name for service in stack.services} == ADDRESS_VARIABLES.keys() - {"kafka", "vectors"}
    assert stack.environment["KAFKA_BROKERS"] == "broker.example:9092"
    assert stack.environment["QDRANT_URL"] == "http://index.example"
    assert stack.environment["DATABASE_URL"].startswith("postgresql://")
    rows = {row["part"]: (row["alive"], row["at"]) for row in stack.status()["parts"]}
    assert rows["kafka"] == (True, "broker.example:9092")
    assert rows["postgres"] == (False, stack.environment["DATABASE_URL"])


def test_port_zero_gives_each_service_its_own_free_port(tmp_path: Path) -> None:
    services = [part.make(0, tmp_path) for part in PARTS.values()]
    ports = [service.port for service in services]  # type: ignore[attr-defined]
    assert len(set(ports)) == len(ports)
    assert all(port > 1023 for port in ports)


def test_a_port_is_given_to_one_process_only(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setattr("local.services.process.FREE_PORTS", range(port, port + 1))
    with pytest.raises(ServiceFailed, match="is free"):
        free_port()
    program = "import sys; from local.services import process as p; p.FREE_PORTS = range(int(sys.argv[1]), "
    program += "int(sys.argv[1]) + 1); print(p.free_port())"
    other = subprocess.run([sys.executable, "-c", program, str(port)], capture_output=True, text=True, check=False)
    assert "is free" in other.stderr
    assert other.stdout == ""


def test_a_tool_is_fetched_once_however_many_ask(tmp_path: Path) -> None:
    target, made, gate = tmp_path / "tool", list[int](), threading.Barrier(4)

    def make(making: Path) -> None:
        assert not target.exists()
        (making / "whole").touch()
        made.append(1)

    def ask() -> bool:
        gate.wait(5)
        make_once(target, make)
        return (target / "whole").exists()

    with ThreadPoolExecutor(4) as askers:
        assert all(future.result() for future in [askers.submit(ask) for _ in range(4)])
    assert made == [1]


def test_a_fetch_that_fails_leaves_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    target = tmp_path / "tool"

    def fail(making: Path) -> None:
        (making / "half").touch()
        raise ServiceFailed("no network")

    with pytest.raises(ServiceFailed, match="no network"):
        make_once(target, fail)
    assert [path.name for path in tmp_path.iterdir()] == [".tool.lock"]
    make_once(target, lambda making: (making / "whole").touch())
    assert (target / "whole").exists()


def test_free_port_returns_a_free_port() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as server:
        assert server.getsockname()[1] > 0
