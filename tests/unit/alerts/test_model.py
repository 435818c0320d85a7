"""What operators are told of, and when."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from deeplens.alerts.model import LEASE, MAX_GROUPS, Alert, Digest, SendAlerts, digest_of
from deeplens.alerts.sns import SnsAlertTopic
from deeplens.errors import AlertsUnavailable
from deeplens.maintenance.model import MaintenanceRun
from deeplens.telemetry.logs import logger

from tests.harness.api import START
from tests.harness.flow import Flow
from tests.harness.machine import Inline


def alert(number: int, code: str = "IMAGE_CORRUPT", stage: str | None = "preprocess", **changes: Any) -> Alert:
    given = {"kind": "dead-letter", "tenant_id": f"tenant_{number % 2}", "raised_at": START + timedelta(minutes=number)}
    return Alert(id=f"dlq_{number}", code=code, stage=stage, **{**given, **changes})


def test_a_message_counts_by_kind_code_and_stage_the_most_frequent_first() -> None:
    alerts = [alert(0, "STAGE_FAILED", "extract"), *(alert(n) for n in range(1, 4)), alert(4, "A", None)]
    digest = digest_of([*alerts, alert(5, "STAGE_FAILED", "sweep", kind="maintenance")])

    assert digest.subject == "DeepLens: 5 dead letters, 1 broken maintenance runs"
    body = json.loads(digest.body)
    assert [(g["kind"], g["code"], g["stage"], g["count"]) for g in body["groups"]] == [
        ("dead-letter", "IMAGE_CORRUPT", "preprocess", 3),
        ("dead-letter", "A", None, 1),
        ("dead-letter", "STAGE_FAILED", "extract", 1),
        ("maintenance", "STAGE_FAILED", "sweep", 1),
    ]
    first = body["groups"][0]
    assert (first["tenants"], first["example"]) == (2, "dlq_1")
    assert first["first"] < first["last"]


def test_a_message_stays_within_what_sns_takes() -> None:
    digest = digest_of([alert(n, f"CODE_{n:0>60}", "s" * 60) for n in range(5000)])
    assert len(digest.body.encode()) < 256 * 1024
    assert len(digest.subject) <= 100
    body = json.loads(digest.body)
    assert (len(body["groups"]), body["furtherGroups"], body["alerts"]) == (MAX_GROUPS, 5000 - MAX_GROUPS, 5000)


@pytest.fixture
def flow() -> Flow:
    return Flow(workers=Inline())


def fail(flow: Flow, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        flow.accept(f"img_{number}", b"no image")
    flow.run()


def tick(flow: Flow) -> None:
    assert flow.build(SendAlerts)() == []


def test_dead_letters_of_a_minute_are_one_message(flow: Flow) -> None:
    fail(flow, 3)
    tick(flow)
    tick(flow)
    fail(flow, 1, first=3)
    tick(flow)

    assert [digest.subject for digest in flow.alert_channel.sent] == [
        "DeepLens: 3 dead letters",
        "DeepLens: 1 dead letters",
    ]


def test_a_letter_that_comes_again_is_not_told_of_again(flow: Flow) -> None:
    fail(flow, 1)
    tick(flow)
    for record in list(flow.log):
        flow.records[record["topic"]].append(record)
    flow.run()
    tick(flow)
    assert len(flow.alert_channel.sent) == 1


def test_a_run_that_breaks_is_told_of_and_one_that_ends_is_not(flow: Flow) -> None:
    runs = [MaintenanceRun(f"mnt_{n}", flow.acme.id, "sweep", n == 1, START, START) for n in range(2)]
    for run, error in zip(runs, ("STORE_DENIED: access denied", None), strict=True):
        flow.maintenance_runs.start(run, timedelta())
        assert flow.maintenance_runs.move(replace(run.moved("", run.report, START, START), error=error), "")
    tick(flow)
    (digest,) = flow.alert_channel.sent
    assert digest.subject == "DeepLens: 1 broken maintenance runs"
    assert json.loads(digest.body)["groups"][0]["code"] == "STORE_DENIED"


def test_what_could_not_be_sent_is_sent_later_and_holds_up_no_record(flow: Flow) -> None:
    flow.alert_channel.failure = AlertsUnavailable("away")
    fail(flow, 2)
    assert len(flow.dead_letters.letters) == 2
    with pytest.raises(AlertsUnavailable):
        tick(flow)
    flow.alert_channel.failure = None
    tick(flow)
    assert flow.alert_channel.sent == []

    flow.clock.skip(LEASE)
    tick(flow)
    assert [digest.subject for digest in flow.alert_channel.sent] == ["DeepLens: 2 dead letters"]


class Sns:
    def __init__(self, failure: Exception | None = None) -> None:
        self.calls: list[dict[str, str]] = []
        self._failure = failure

    def publish(self, **call: str) -> None:
        if self._failure:
            raise self._failure
        self.calls.append(call)


def test_a_message_goes_to_the_topic() -> None:
    sns = Sns()
    SnsAlertTopic(lambda: sns, "arn:aws:sns:us-east-1:1:t").send(Digest("s", "b"))
    assert sns.calls == [{"TopicArn": "arn:aws:sns:us-east-1:1:t", "Subject": "s", "Message": "b"}]


@pytest.mark.parametrize(
    "failure",
    [EndpointConnectionError(endpoint_url="http://x"), ClientError({"Error": {"Code": "NotFound"}}, "Publish")],
    ids=repr,
)
def test_a_topic_that_is_away_is_unavailable(failure: Exception) -> None:
    with pytest.raises(AlertsUnavailable):
        SnsAlertTopic(lambda: Sns(failure), "arn").send(Digest("s", "b"))


def test_without_a_topic_the_log_has_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(logger(), "error", lambda message, **_: lines.append(message))
    SnsAlertTopic(lambda: pytest.fail("no client is needed"), "").send(Digest("DeepLens: 1 dead letters", "{}"))
    assert lines == ["DeepLens: 1 dead letters"]
