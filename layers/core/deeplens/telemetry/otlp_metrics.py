"""Points of metrics as OTLP JSON, with delta temporality. Imported only where an endpoint is configured."""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

from deeplens.telemetry.conventions import SCHEMA_URL, Value
from deeplens.telemetry.metrics import Point
from deeplens.telemetry.otlp import OtlpExporter, attributes_of

PATH = "/v1/metrics"

DELTA = 1
"""``AggregationTemporality``."""
SCALE = 3
"""Of exponential histograms: a bucket is 2^(1/8) times as wide as the one before, so a quantile errs by 9 % at most."""


class MetricsExporter:
    """Posts points over the connection of the spans.

    Parameters
    ----------
    exponential : histograms have exponential buckets instead of the instruments' bounds.
    """

    def __init__(self, exporter: OtlpExporter, *, exponential: bool) -> None:
        self._exporter, self._exponential = exporter, exponential

    def __call__(self, points: Sequence[Point], since: int, until: int, /) -> None:
        resource, exponential = self._exporter.resource, self._exponential
        self._exporter.send(
            PATH,
            "points",
            len(points),
            lambda: metrics_request(points, since, until, resource, exponential=exponential),
        )


def metrics_request(
    points: Sequence[Point], since: int, until: int, resource: Mapping[str, Value], *, exponential: bool
) -> dict[str, Any]:
    """``ExportMetricsServiceRequest``; times in nanoseconds since the epoch."""
    times = {"startTimeUnixNano": str(since), "timeUnixNano": str(until)}
    by_name: dict[str, list[Point]] = {}
    for point in points:
        by_name.setdefault(point.instrument.name, []).append(point)
    metrics = [_metric(group, times, exponential=exponential) for group in by_name.values()]
    described = {"resource": {"attributes": attributes_of(resource)}, "schemaUrl": SCHEMA_URL}
    return {"resourceMetrics": [{**described, "scopeMetrics": [{"scope": {"name": "deeplens"}, "metrics": metrics}]}]}


def _metric(points: Sequence[Point], times: Mapping[str, str], *, exponential: bool) -> dict[str, Any]:
    instrument = points[0].instrument
    named = {"name": instrument.name, "unit": instrument.unit, "description": instrument.meaning}
    common = [_common(point, times) for point in points]
    if instrument.kind == "histogram":
        buckets = _exponential if exponential else _explicit
        histograms = [
            {**own, **_summary(point, times), **buckets(point)} for own, point in zip(common, points, strict=True)
        ]
        kind = "exponentialHistogram" if exponential else "histogram"
        return {**named, kind: {"aggregationTemporality": DELTA, "dataPoints": histograms}}
    numbers = [{**own, "asDouble": float(point.value)} for own, point in zip(common, points, strict=True)]
    if instrument.kind == "gauge":
        return {**named, "gauge": {"dataPoints": numbers}}
    return {**named, "sum": {"aggregationTemporality": DELTA, "isMonotonic": True, "dataPoints": numbers}}


def _common(point: Point, times: Mapping[str, str]) -> dict[str, Any]:
    given = zip(point.instrument.labels, point.labels, strict=True)
    return {"attributes": attributes_of({label.name: value for label, value in given if value}), **times}


def _summary(point: Point, times: Mapping[str, str]) -> dict[str, Any]:
    values = point.values
    summary: dict[str, Any] = {
        "count": str(len(values)),
        "sum": float(sum(values)),
        "min": float(min(values, default=0)),
        "max": float(max(values, default=0)),
    }
    if point.exemplar is not None:
        value, context = point.exemplar
        exemplar = {"traceId": context.trace_id, "spanId": context.span_id, "asDouble": float(value)}
        summary["exemplars"] = [{"timeUnixNano": times["timeUnixNano"], **exemplar}]
    return summary


def _explicit(point: Point) -> dict[str, Any]:
    bounds = point.instrument.bounds
    counts = [0] * (len(bounds) + 1)
    for value in point.values:
        counts[bisect_left(bounds, value)] += 1
    return {"explicitBounds": [float(bound) for bound in bounds], "bucketCounts": [str(count) for count in counts]}


def _exponential(point: Point) -> dict[str, Any]:
    indexes = [math.ceil(math.log2(value) * 2**SCALE) - 1 for value in point.values if value > 0]
    zeros = {"scale": SCALE, "zeroCount": str(len(point.values) - len(indexes))}
    if not indexes:
        return zeros
    counts = [0] * (max(indexes) - min(indexes) + 1)
    for index in indexes:
        counts[index - min(indexes)] += 1
    return {**zeros, "positive": {"offset": min(indexes), "bucketCounts": [str(count) for count in counts]}}
