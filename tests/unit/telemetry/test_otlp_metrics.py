"""Metrics as OTLP JSON: deltas, with buckets of either kind."""

import pytest
from deeplens.telemetry import instruments as of
from deeplens.telemetry.context import SpanContext
from deeplens.telemetry.metrics import Point
from deeplens.telemetry.otlp_metrics import SCALE, metrics_request

SPAN = SpanContext("a" * 32, "1" * 16)
TIMES = {"startTimeUnixNano": "1", "timeUnixNano": "2"}


def metrics_of(*points: Point, exponential: bool = False) -> list[dict[str, object]]:
    (group,) = metrics_request(points, 1, 2, {"faas.name": "f"}, exponential=exponential)["resourceMetrics"]
    assert group["resource"]["attributes"] == [{"key": "faas.name", "value": {"stringValue": "f"}}]
    return list(group["scopeMetrics"][0]["metrics"])


def test_counters_are_deltas_and_gauges_are_levels() -> None:
    sent, age = metrics_of(Point(of.SENT, ("t", ""), 2), Point(of.SENT, ("u", "e"), 1), Point(of.PENDING_AGE, (), 7))
    topic, error = "messaging.destination.name", "error.type"
    assert sent == {
        "name": "messaging.client.sent.messages",
        "unit": "{message}",
        "description": of.SENT.meaning,
        "sum": {
            "aggregationTemporality": 1,
            "isMonotonic": True,
            "dataPoints": [
                {"attributes": [{"key": topic, "value": {"stringValue": "t"}}], **TIMES, "asDouble": 2.0},
                {
                    "attributes": [
                        {"key": topic, "value": {"stringValue": "u"}},
                        {"key": error, "value": {"stringValue": "e"}},
                    ],
                    **TIMES,
                    "asDouble": 1.0,
                },
            ],
        },
    }
    assert age["gauge"] == {"dataPoints": [{"attributes": [], **TIMES, "asDouble": 7.0}]}


def test_explicit_buckets_include_their_bound_and_an_exemplar_names_its_span() -> None:
    (found,) = metrics_of(Point(of.BATCH_SIZE, ("index",), 0, [1, 2, 3, 5000], (3, SPAN)))
    (point,) = found["histogram"]["dataPoints"]  # type: ignore[index]
    assert point["explicitBounds"] == list(map(float, of.SIZES))
    assert point["bucketCounts"] == ["1", "1", "1", *["0"] * (len(of.SIZES) - 3), "1"]
    assert (point["count"], point["sum"], point["min"], point["max"]) == ("4", 5006.0, 1.0, 5000.0)
    assert point["exemplars"] == [
        {"timeUnixNano": "2", "traceId": "a" * 32, "spanId": "1" * 16, "asDouble": 3.0},
    ]


@pytest.mark.parametrize(
    ("values", "offset", "counts"),
    [
        ([1.0], -1, [1]),
        ([2.0, 1.9], 7, [2]),
        ([2.0, 2.01], 7, [1, 1]),
        ([0.3, 0.3, 0.4], -14, [2, 0, 0, 1]),
        ([0.0, 4.0], 15, [1]),
    ],
)
def test_exponential_buckets_hold_each_value(values: list[float], offset: int, counts: list[int]) -> None:
    (found,) = metrics_of(Point(of.IMAGE_DURATION, (), 0, values), exponential=True)
    (point,) = found["exponentialHistogram"]["dataPoints"]  # type: ignore[index]
    positive, base = point["positive"], 2 ** (2.0**-SCALE)
    assert (positive["offset"], list(map(int, positive["bucketCounts"]))) == (offset, counts)
    assert int(point["zeroCount"]) == values.count(0.0)
    largest = offset + len(counts)
    assert base ** (largest - 1) < max(values) <= base**largest * (1 + 1e-12)


def test_zeros_alone_need_no_bucket() -> None:
    (found,) = metrics_of(Point(of.IMAGE_DURATION, (), 0, [0.0, 0.0]), exponential=True)
    (point,) = found["exponentialHistogram"]["dataPoints"]  # type: ignore[index]
    assert "positive" not in point
    assert (point["count"], point["zeroCount"]) == ("2", "2")
