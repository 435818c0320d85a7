"""Metrics for CloudWatch: a line in the Embedded Metric Format per set of dimensions.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from deeplens.telemetry.instruments import Instrument
from deeplens.telemetry.metrics import Point

NAMESPACE = "DeepLens"
UNITS = {"s": "Seconds", "By": "Bytes"}
MAX_VALUES = 100
"""Of one metric in a line."""
ADDED_UP = "stage"
"""Metrics with this dimension are also there without it: the alarm on errors computes with few series."""

type Dimensions = tuple[tuple[str, str], ...]
type Values = dict[str, list[float]]


class EmfExporter:
    """Writes the instruments that have a name in CloudWatch.

    Parameters
    ----------
    stack : the first dimension of every metric, as two installations may share an account.
    """

    def __init__(self, stack: str, write: Callable[[str], Any] = print) -> None:
        self._stack, self._write = stack, write

    def __call__(self, points: Sequence[Point], _since: int, until: int, /) -> None:
        for line in lines_of(points, self._stack, until // 1_000_000):
            self._write(json.dumps(line, separators=(",", ":")))


def lines_of(points: Sequence[Point], stack: str, at_ms: int) -> Iterator[dict[str, Any]]:
    sets: dict[Dimensions, Values] = {}
    units: dict[str, str] = {}
    for point in points:
        if not point.instrument.cloudwatch:
            continue
        labels = {label.keyword: value for label, value in zip(point.instrument.labels, point.labels, strict=True)}
        name = name_of(point.instrument, labels)
        units[name] = UNITS.get(point.instrument.unit, "Count")
        dimensions = (("stack", stack), *[(keyword, labels[keyword]) for keyword in point.instrument.dimensions])
        values = sets.setdefault(dimensions, {})
        if point.instrument.kind == "histogram":
            values.setdefault(name, []).extend(point.values)
        else:
            values[name] = [sum(values.get(name, ())) + point.value]
    for dimensions, values in sets.items():
        while values:
            yield _line(dimensions, {name: some[:MAX_VALUES] for name, some in values.items()}, units, at_ms)
            values = {name: some[MAX_VALUES:] for name, some in values.items() if len(some) > MAX_VALUES}


def name_of(instrument: Instrument, labels: Mapping[str, str]) -> str:
    """The name in CloudWatch, e.g. ``RecordsDone``."""
    return instrument.cloudwatch.format(**{keyword: value.capitalize() for keyword, value in labels.items()})


def _line(dimensions: Dimensions, values: Values, units: Mapping[str, str], at_ms: int) -> dict[str, Any]:
    metrics = [{"Name": name, "Unit": units[name]} for name in values]
    names = [name for name, _ in dimensions]
    sets = [names, ["stack"]] if ADDED_UP in names else [names]
    directive = {"Namespace": NAMESPACE, "Dimensions": sets, "Metrics": metrics}
    return {
        "_aws": {"Timestamp": at_ms, "CloudWatchMetrics": [directive]},
        **dict(dimensions),
        **{name: some[0] if len(some) == 1 else some for name, some in values.items()},
    }
