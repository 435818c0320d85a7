"""The metrics of an invocation, and whose fault a failure is."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pytest
from deeplens.common.event import Event
from deeplens.common.stage import Done, Failed, Outcome, Waiting
from deeplens.errors import (
    BrokerUnavailable,
    ImageCorrupt,
    InvalidEvent,
    StageFailed,
    TenantStoreDenied,
    TransientError,
)
from deeplens.events.failures import DeadLetter, Failure
from deeplens.events.images import ProcessingCompleted
from deeplens.events.maintenance import ImageMaintenance
from deeplens.kafka.measure import measure, outcome_of
from deeplens.kafka.received import Received
from deeplens.kafka.records import Record, records_of
from deeplens.telemetry import metrics
from deeplens.telemetry.metrics import Meter, Point

AT = datetime(2026, 1, 1, tzinfo=UTC)
NOW = AT.timestamp()
type Points = dict[tuple[str, tuple[str, ...]], Point]


@pytest.fixture
def points() -> Iterator[Points]:
    found: Points = {}

    def export(exported: Sequence[Point], _since: int, _until: int, /) -> None:
        found.update({(point.instrument.name, point.labels): point for point in exported})

    metrics.configure(Meter([export]))
    yield found
    metrics.configure(None)


def received(event: Event | None = None, outcome: Outcome | None = None, sent_at: float | None = None) -> Received:
    return Received(Record("t", 0, 0, None, None, {}, sent_at=sent_at), event, outcome or Done())


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Done(), ("done", "")),
        (Done(dropped="older generation"), ("dropped", "")),
        (Failed(ImageCorrupt()), ("invalid", "IMAGE_CORRUPT")),
        (Failed(TenantStoreDenied()), ("invalid", "TENANT_STORE_DENIED")),
        (Failed(StageFailed()), ("failed", "STAGE_FAILED")),
        (Failed(TransientError()), ("failed", "TRANSIENT")),
        (Failed(InvalidEvent()), ("failed", "INVALID_EVENT")),
        (Waiting(BrokerUnavailable()), ("waiting", "BrokerUnavailable")),
    ],
)
def test_a_failure_is_the_tenants_or_the_platforms(outcome: Outcome, expected: tuple[str, str]) -> None:
    assert outcome_of(outcome) == expected


def test_an_invocation_is_measured_with_its_records(points: Points) -> None:
    records = [received(sent_at=NOW - 5), received(sent_at=NOW - 3), received(outcome=Failed(StageFailed()))]
    measure("index", records, 2.0, NOW)
    metrics.flush()
    assert points["messaging.process.duration", ("t", "index")].values == [2.0]
    assert points["deeplens.batch.size", ("index",)].values == [3]
    assert points["deeplens.record.age", ("index",)].values == [3.0, 1.0]
    consumed = "messaging.client.consumed.messages"
    assert points[consumed, ("t", "index", "done", "")].value == 2
    assert points[consumed, ("t", "index", "failed", "STAGE_FAILED")].value == 1


def test_longer_work_is_measured_where_it_ends(points: Points) -> None:
    completed = ProcessingCompleted(image_id="img_a", tenant_id="tenant_a", processing_time=4.5, completed_at=AT)
    deletion = ImageMaintenance(
        image_id="img_a",
        tenant_id="tenant_a",
        maintenance_type="delete",
        requested_at=datetime.fromtimestamp(NOW - 7, UTC),
    )
    letter = DeadLetter(
        dead_letter_id="dlq_a",
        error=Failure(code="STAGE_FAILED", message="m", retryable=True),
        failed_at=AT,
        attempt_number=6,
        stage="index",
    )
    measure("complete", [received(completed), received(completed, Done(dropped="older generation"))], 0.1, NOW)
    measure("detect_duplicates", [received(completed)], 0.1, NOW)
    measure("maintain", [received(deletion), received(deletion, Failed(InvalidEvent()))], 0.1, NOW)
    measure("store_dead_letters", [received(letter)], 0.1, NOW)
    metrics.flush()
    assert points["deeplens.image.processing.duration", ()].values == [4.5]
    assert points["deeplens.deletion.duration", ()].values == [7.0]
    assert points["deeplens.dead_letters", ("index", "STAGE_FAILED")].value == 1


def test_nothing_is_measured_of_no_record(points: Points) -> None:
    measure("index", [], 0.1, NOW)
    metrics.flush()
    assert points == {}


def test_records_say_when_they_were_sent() -> None:
    kafka = {"topic": "t", "partition": 0, "offset": 1, "timestamp": 1_500, "headers": []}
    message = {
        "eventSourceARN": "arn:aws:sqs:eu-central-1:1:RetryQueue",
        "body": "{}",
        "messageId": "m",
        "attributes": {"SentTimestamp": "2500"},
    }
    assert [record.sent_at for record in records_of({"records": {"t-0": [kafka]}})] == [1.5]
    assert [record.sent_at for record in records_of({"Records": [message]})] == [2.5]
