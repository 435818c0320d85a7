"""The runner starts everything that the template declares, with SQS and schedules, and stops in time."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from local.runner import Runner
from local.runner.schedule_source import ScheduleSource
from local.runner.template import ScheduleEvent
from local.services.kafka import KafkaService
from local.services.localstack import LocalStackService
from local.services.process import free_port
from tests.integration.local.runner.conftest import HERE, Journal, StartPool, eventually

STOP_SECONDS = 6


@pytest.fixture(scope="module")
def localstack(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[LocalStackService]:
    folder = tmp_path_factory.mktemp("localstack")
    service = LocalStackService(0, folder, pytestconfig.rootpath / ".tools", folder)
    service.start()
    yield service
    service.kill()


@pytest.fixture
def sqs(localstack: LocalStackService) -> Any:
    given = localstack.environment
    return boto3.client(
        "sqs",
        endpoint_url=given["AWS_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


@pytest.fixture
def queue_arn(sqs: Any) -> str:
    url = sqs.create_queue(QueueName=f"q{time.monotonic_ns()}", Attributes={"VisibilityTimeout": "1"})["QueueUrl"]
    return str(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"])


type StartRunner = Callable[[], Runner]


@pytest.fixture
def runner(
    kafka: KafkaService, localstack: LocalStackService, queue_arn: str, journal: Journal, tmp_path: Path
) -> Iterator[Runner]:
    create_topics(kafka.environment["KAFKA_BROKERS"], "numbers", "dead")
    runner = Runner(
        HERE / "template.yaml",
        environment=kafka.environment | localstack.environment,
        state_dir=tmp_path,
        log_dir=tmp_path / "logs",
        host="127.0.0.1",
        ports=[free_port()],
        parameters={"Journal": str(journal.path)},
        resources={"Queue.Arn": queue_arn},
    )
    runner.start()
    yield runner
    runner.stop()


def create_topics(brokers: str, *names: str) -> None:
    admin = AdminClient({"bootstrap.servers": brokers})
    missing = set(names) - admin.list_topics(timeout=10).topics.keys()
    for created in admin.create_topics([NewTopic(name, 3, 1) for name in missing]).values() if missing else ():
        created.result(15)


def send(brokers: str, *values: str) -> None:
    producer = Producer({"bootstrap.servers": brokers})
    for value in values:
        producer.produce("numbers", value)
    assert producer.flush(15) == 0


def test_every_function_of_the_template_runs(
    runner: Runner, kafka: KafkaService, sqs: Any, queue_arn: str, journal: Journal
) -> None:
    url = f"http://{runner._gateway._host}"
    assert httpx.get(f"{url}/v1/images").status_code == 201
    send(kafka.environment["KAFKA_BROKERS"], '{"n": 7}')
    queue_url = sqs.get_queue_url(QueueName=queue_arn.rpartition(":")[2])["QueueUrl"]
    sqs.send_message(QueueUrl=queue_url, MessageBody="hello", MessageAttributes=BINARY_ATTRIBUTE)
    eventually(lambda: "hello" in journal.lines() and any('"n": 7' in line for line in journal.lines()))
    assert runner.invoke("OnNumbers", {"records": {}}).payload == {"batchItemFailures": []}
    assert runner.invoke("on_numbers", {"records": {}}).payload == {"batchItemFailures": []}
    rows = {row["function"]: row for row in runner.status()}
    assert set(rows) == {"toy", "web", "files", "on_numbers", "on_message"}
    assert rows["on_numbers"].items() >= {"processes": 1, "invocations": 3, "errors": 0, "in_flight": 0}.items()
    assert rows["web"]["lag"] is None
    eventually(lambda: {row["function"]: row for row in runner.status()}["on_numbers"]["lag"] == 0)


BINARY_ATTRIBUTE = {"raw": {"DataType": "Binary", "BinaryValue": b"\x00\xff"}}


def test_messages_that_succeed_are_deleted_and_a_failed_one_is_received_again(
    runner: Runner, sqs: Any, queue_arn: str, journal: Journal
) -> None:
    queue_url = sqs.get_queue_url(QueueName=queue_arn.rpartition(":")[2])["QueueUrl"]
    for body in ("a", "fail", "b"):
        sqs.send_message(QueueUrl=queue_url, MessageBody=body)
    eventually(lambda: sorted(journal.lines()) == ["a", "b", "fail"])

    def left() -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)["Attributes"]
        return sum(int(attributes[name]) for name in names)

    eventually(lambda: left() == 0)
    assert sorted(journal.lines()) == ["a", "b", "fail"]


def test_stop_is_clean_and_bounded_while_functions_are_busy(
    runner: Runner, kafka: KafkaService, journal: Journal
) -> None:
    send(kafka.environment["KAFKA_BROKERS"], '{"do": "wait", "n": 1}')
    eventually(lambda: runner.pools["on_numbers"].in_flight == 1)
    started = time.monotonic()
    runner.stop()
    assert time.monotonic() - started < STOP_SECONDS
    assert all(not pool.pids for pool in runner.pools.values())
    assert journal.lines() == []


def test_stop_is_bounded_while_the_broker_is_away(runner: Runner, kafka: KafkaService) -> None:
    kafka.kill()
    try:
        started = time.monotonic()
        runner.stop()
        assert time.monotonic() - started < STOP_SECONDS
        assert all(not pool.pids for pool in runner.pools.values())
    finally:
        kafka.start()


@pytest.mark.parametrize(
    ("payload", "expected"), [('{"do": "say", "text": "tick"}', "tick"), ('{"do": "fail"}', "ValueError")]
)
def test_a_schedule_invokes_its_function(start_pool: StartPool, tmp_path: Path, payload: str, expected: str) -> None:
    pool, logged = start_pool(), list[str]()
    source = ScheduleSource(ScheduleEvent("rate(1 second)", payload), pool, logged.append)
    source.start()
    log = tmp_path / "logs" / "functions" / "toy.log"
    eventually(lambda: pool.invocations == 2)
    source.stop()
    assert source.join(1)
    eventually(lambda: expected in log.read_text() + "".join(logged))


def test_queues_are_created_at_the_start_and_after_localstack_lost_them(
    kafka: KafkaService, localstack: LocalStackService, sqs: Any, journal: Journal, tmp_path: Path
) -> None:
    create_topics(kafka.environment["KAFKA_BROKERS"], "numbers", "dead")
    runner = Runner(
        HERE / "template.yaml",
        environment=kafka.environment | localstack.environment,
        state_dir=tmp_path,
        log_dir=tmp_path / "logs",
        host="127.0.0.1",
        ports=[free_port()],
        parameters={"Journal": str(journal.path)},
    )
    runner.start()
    url = f"{localstack.environment['AWS_ENDPOINT_URL']}/000000000000/Queue"
    try:
        sqs.send_message(QueueUrl=url, MessageBody="first")
        eventually(lambda: "first" in journal.lines())
        localstack.kill()
        localstack.launch()
        localstack.wait_ready()

        def sent() -> bool:
            try:
                return bool(sqs.send_message(QueueUrl=url, MessageBody="second"))
            except sqs.exceptions.QueueDoesNotExist:
                return False

        eventually(sent, 30)
        eventually(lambda: "second" in journal.lines())
    finally:
        runner.stop()
