"""Records that are given up reach their destination, or the failure is an error."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.runner import destination
from local.runner.destination import FailureDestination
from local.runner.kafka_event import KafkaRecord
from local.runner.template import KafkaEvent
from local.runner.worker import Result

RECORDS = [KafkaRecord("t", 0, n, 1000 + n, b"key", b"value", (("traceparent", b"00-ab"),)) for n in range(3)]
FAILED = Result(None, {"errorType": "ValueError", "errorMessage": "poison"}, 1)


def event(on_failure: str) -> KafkaEvent:
    return KafkaEvent("t", "g", 10, 0, True, 1, -1, on_failure, "arn:cluster", True)


class ScriptedProducer:
    """A producer that calls each record's callback at ``flush`` with the next of ``reports``, if there is one."""

    reports: list[Any]
    sent: list[tuple[Any, ...]]

    def __init__(self, _config: dict[str, Any]) -> None:
        self.callbacks: list[Callable[[Any, Any], None]] = []

    def produce(
        self, topic: str, value: bytes, key: bytes, headers: list[Any], on_delivery: Callable[[Any, Any], None]
    ) -> None:
        self.sent.append((topic, value, key, headers))
        self.callbacks.append(on_delivery)

    def flush(self, _seconds: float) -> int:
        for callback, report in zip(self.callbacks, self.reports, strict=False):
            callback(report, None)
        return 0


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch) -> type[ScriptedProducer]:
    monkeypatch.setattr(destination, "Producer", ScriptedProducer)
    monkeypatch.setattr(ScriptedProducer, "sent", [], raising=False)
    return ScriptedProducer


def test_records_keep_their_content_and_headers_say_where_they_come_from(
    producer: type[ScriptedProducer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(producer, "reports", [None] * 3, raising=False)
    FailureDestination("b:1", tmp_path).send(RECORDS, event("kafka://dead"), "on_thing", FAILED)
    topic, value, key, headers = producer.sent[1]
    assert (topic, value, key, len(producer.sent)) == ("dead", b"value", b"key", 3)
    assert headers[0] == ("traceparent", b"00-ab")
    assert dict(headers[1:]) == {
        "lambda-function": b"on_thing",
        "lambda-error": json.dumps(FAILED.error).encode(),
        "source-topic": b"t",
        "source-partition": b"0",
        "source-offset": b"1",
    }


@pytest.mark.parametrize(
    ("reports", "missing"),
    [([None, "no space", None], "1 of 3 .*no space"), ([None, None], "1 of 3"), ([], "3 of 3")],
)
def test_a_record_without_a_successful_delivery_report_is_an_error(
    producer: type[ScriptedProducer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reports: list[Any], missing: str
) -> None:
    monkeypatch.setattr(producer, "reports", reports, raising=False)
    with pytest.raises(RuntimeError, match=missing):
        FailureDestination("b:1", tmp_path).send(RECORDS, event("kafka://dead"), "on_thing", FAILED)


@pytest.mark.parametrize("on_failure", ["arn:aws:s3:::undeliverable", ""])
def test_without_a_topic_records_are_kept_in_a_file(tmp_path: Path, on_failure: str) -> None:
    FailureDestination("b:1", tmp_path / "failed").send(RECORDS, event(on_failure), "on_thing", FAILED)
    (path,) = (tmp_path / "failed").iterdir()
    document = json.loads(path.read_text())
    assert [record["offset"] for record in document["payload"]["records"]["t-0"]] == [0, 1, 2]
    assert document["responseContext"]["functionError"] == FAILED.error
