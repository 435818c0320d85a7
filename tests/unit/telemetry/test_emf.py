"""Metrics for CloudWatch, in the format that Powertools writes as well."""

import json
from typing import Any

import pytest
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit
from deeplens.telemetry import instruments as of
from deeplens.telemetry.emf import EmfExporter, lines_of
from deeplens.telemetry.instruments import Instrument
from deeplens.telemetry.metrics import Point


def point(instrument: Instrument, *labels: str, value: float = 0, values: tuple[float, ...] = ()) -> Point:
    return Point(instrument, labels, value, list(values))


def lines(*points: Point) -> list[dict[str, Any]]:
    written: list[str] = []
    EmfExporter("prod", written.append)(points, 0, 1_000_000_000)
    return [json.loads(line) for line in written]


def test_a_line_is_what_powertools_writes() -> None:
    (line,) = lines(point(of.CONSUMED, "t", "index", "done", "", value=3))
    expected = EphemeralMetrics(namespace="DeepLens")
    expected.add_dimension("stack", "prod")
    expected.add_dimension("stage", "index")
    expected.add_metric("RecordsDone", MetricUnit.Count, 3)
    written: Any = expected.serialize_metric_set()
    written["_aws"]["Timestamp"] = line["_aws"]["Timestamp"]
    assert line | {"RecordsDone": [3.0]} == {name: value for name, value in written.items() if name != "service"} | {
        "_aws": {
            **written["_aws"],
            "CloudWatchMetrics": [
                {**written["_aws"]["CloudWatchMetrics"][0], "Dimensions": [["stack", "stage"], ["stack"]]}
            ],
        }
    }
    assert line["_aws"]["Timestamp"] == 1000


def test_metrics_of_the_same_dimensions_share_a_line_and_labels_that_are_none_are_added_up() -> None:
    found = lines(
        point(of.CONSUMED, "t", "index", "failed", "A", value=1),
        point(of.CONSUMED, "t", "index", "failed", "B", value=2),
        point(of.CONSUMED, "t", "index", "done", "", value=4),
        point(of.SECURITY_EVENTS, "locked_out", value=1),
        point(of.IMAGE_DURATION, values=(1.0, 2.0)),
        point(of.BATCH_SIZE, "index", values=(1.0,)),
    )
    assert [{name: line[name] for name in line if name != "_aws"} for line in found] == [
        {"stack": "prod", "stage": "index", "RecordsFailed": 3, "RecordsDone": 4},
        {"stack": "prod", "event": "locked_out", "SecurityEvents": 1},
        {"stack": "prod", "ProcessingSeconds": [1.0, 2.0]},
    ]
    assert found[2]["_aws"]["CloudWatchMetrics"][0]["Metrics"] == [{"Name": "ProcessingSeconds", "Unit": "Seconds"}]


def test_a_line_has_at_most_a_hundred_values() -> None:
    found = list(lines_of([point(of.IMAGE_DURATION, values=tuple(map(float, range(250))))], "prod", 0))
    assert [len(line["ProcessingSeconds"]) for line in found] == [100, 100, 50]


def test_it_prints(capsys: pytest.CaptureFixture[str]) -> None:
    EmfExporter("prod")([point(of.SECURITY_EVENTS, "signed_in", value=1)], 0, 0)
    assert json.loads(capsys.readouterr().out)["event"] == "signed_in"
