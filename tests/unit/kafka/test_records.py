"""Records as Lambda hands them over, however odd."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from deeplens.common.stage import Done, Waiting
from deeplens.errors import IndexUnavailable, InvalidEvent
from deeplens.events.failures import DeadLetter
from deeplens.events.ids import follow_up_id
from deeplens.events.images import ImageUploaded
from deeplens.events.topics import TOPICS
from deeplens.failures.store import read_dead_letter
from deeplens.kafka.handler import failures
from deeplens.kafka.received import Received
from deeplens.kafka.records import parse, records_of

PAYLOADS = Path(__file__).resolve().parents[3] / "events" / "payloads"
GIVEN_UP = sorted(topic.name for topic in TOPICS if topic.contract is not DeadLetter)


def record(**change: Any) -> Any:
    given = {"topic": "t", "partition": 1, "offset": 7, "key": None, "value": "e30=", "headers": [], **change}
    return next(records_of({"records": {"t-1": [given]}}))


def signed(value: bytes) -> list[int]:
    """Header bytes as Lambda's poller writes them."""
    return [byte - 256 if byte > 127 else byte for byte in value]


TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([{"traceparent": signed(TRACE)}], TRACE.decode()),
        ([{"Traceparent": signed(TRACE)}], TRACE.decode()),
        ([{"traceparent": signed(b"\xff\xff")}], None),
        ([{"traceparent": "text"}], None),
        ([], None),
        (None, None),
    ],
)
def test_traceparent_is_taken_only_when_it_is_one(headers: Any, expected: str | None) -> None:
    assert record(headers=headers).traceparent == expected


@pytest.mark.parametrize(("header", "attempt"), [(b"3", 3), (b"0", 1), (b"-1", 1), (b"x", 1), (b"9" * 30, 1), (b"", 1)])
def test_an_attempt_that_is_no_number_is_the_first(header: bytes, attempt: int) -> None:
    assert record(headers=[{"deeplens-attempt": signed(header)}]).attempt == attempt


def test_an_event_id_is_derived_from_the_position_where_none_is_given() -> None:
    assert record().event_id == record().event_id
    assert record().event_id != record(offset=8).event_id
    assert record(headers=[{"deeplens-event-id": signed(b"abc")}]).event_id == "abc"
    assert follow_up_id("index", "abc", 0) == follow_up_id("index", "abc", 0) != follow_up_id("index", "abc", 1)


@pytest.mark.parametrize("value", [None, "", "!", base64.b64encode(b"{}").decode(), base64.b64encode(b"\xff").decode()])
def test_what_is_not_the_contract_is_an_invalid_event(value: str | None) -> None:
    with pytest.raises(InvalidEvent):
        parse(record(value=value), ImageUploaded)


def test_the_reason_names_the_fields_but_not_their_values() -> None:
    body = base64.b64encode(b'{"imageId": "secret/../id", "tenantId": 1}').decode()
    with pytest.raises(InvalidEvent, match="imageId") as raised:
        parse(record(value=body), ImageUploaded)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b"garbage", "UNREADABLE_DEAD_LETTER"),
        (b'{"requestContext": {"condition": "RetryAttemptsExhausted", "functionArn": "f"}}', "INVOCATION_FAILED"),
        (b'{"requestContext": 1}', "UNREADABLE_DEAD_LETTER"),
    ],
)
def test_any_record_becomes_a_dead_letter(value: bytes, code: str) -> None:
    letter = read_dead_letter(record(value=base64.b64encode(value).decode()))
    assert letter.error.code == code
    assert letter.source is not None
    assert base64.b64decode(letter.source.value or "") == value


@pytest.mark.parametrize("told", ["", "dev-", None], ids=["told", "prefixed", "untold"])
@pytest.mark.parametrize("topic", GIVEN_UP)
def test_a_record_that_lambda_gave_up_is_kept_under_its_own_topic(topic: str, told: str | None) -> None:
    value = (PAYLOADS / f"{topic}.json").read_bytes()
    headers = {"deeplens-event-id": b"e1", "deeplens-attempt": b"2", "deeplens-replays": b"1"}
    if told is not None:
        headers |= {"source-topic": f"{told}{topic}".encode(), "source-partition": b"2", "source-offset": b"99"}
        headers |= {"lambda-function": b"on_thing"}
    given_up = record(
        topic="deeplens.processing.deadletter",
        value=base64.b64encode(value).decode(),
        headers=[{name: list(given)} for name, given in headers.items()],
    )
    letter = read_dead_letter(given_up)

    assert letter.error.code == "INVOCATION_FAILED"
    assert ("on_thing" in letter.error.message) == (told is not None)
    source = letter.source
    assert source
    assert (source.topic, source.event_id, source.replays, letter.attempt_number) == (topic, "e1", 1, 2)
    assert (source.partition, source.offset) == ((2, 99) if told is not None else (given_up.partition, given_up.offset))
    assert base64.b64decode(source.value or "") == value
    assert letter.tenant_id == json.loads(value).get("tenantId")
    assert letter.dead_letter_id == read_dead_letter(given_up).dead_letter_id


def test_a_record_of_no_topic_of_ours_is_unreadable() -> None:
    value = (PAYLOADS / "deeplens.tenant.usage.json").read_bytes()
    headers = [{"source-topic": list(b"elsewhere")}]
    letter = read_dead_letter(record(value=base64.b64encode(value).decode(), headers=headers))
    assert letter.error.code == "UNREADABLE_DEAD_LETTER"


def test_an_oversized_value_is_left_to_the_topic() -> None:
    letter = read_dead_letter(record(value=base64.b64encode(b"x" * 600_000).decode()))
    assert letter.source is not None
    assert (letter.source.value, letter.source.offset) == (None, 7)


def test_the_lowest_waiting_offset_of_each_partition_is_named() -> None:
    waiting, done = Waiting(IndexUnavailable()), Done()
    received = [
        Received(record(offset=1), outcome=done),
        Received(record(offset=3), outcome=waiting),
        Received(record(offset=2), outcome=waiting),
        Received(record(partition=0, offset=9), outcome=done),
        Received(record(partition=2, offset=5), outcome=waiting),
    ]
    assert failures(received) == {
        "batchItemFailures": [
            {"itemIdentifier": {"partition": "t-1", "offset": 2}},
            {"itemIdentifier": {"partition": "t-2", "offset": 5}},
        ]
    }
