"""Metrics for Prometheus: what functions sent as OTLP, added up since the stack started."""

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deeplens.telemetry.instruments import INSTRUMENTS, RUNNER, Instrument
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

FUNCTION = "faas_name"
GAUGE_SECONDS = 300.0
"""How long a gauge is shown that nobody sets any more."""


@dataclass(slots=True)
class Series:
    """A series of one instrument.

    Attributes
    ----------
    counts : per bucket of a histogram, not cumulative.
    exemplars : the last per bucket.
    at : when it was set, by the monotonic clock.
    """

    value: float = 0.0
    counts: list[int] = field(default_factory=list)
    exemplars: dict[int, Exemplar] = field(default_factory=dict)
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Sample:
    """A value that is read when Prometheus asks."""

    instrument: Instrument
    labels: tuple[str, ...]
    value: float


def sample(instrument: Instrument, value: float, **labels: str) -> Sample:
    return Sample(instrument, tuple(labels[label.keyword] for label in instrument.labels), value)


class MetricStore(Collector):
    """Adds up deltas of registered instruments; anything else is ignored.

    Parameters
    ----------
    others : read at every scrape: samples of the runner, and metrics of other pages.
    """

    def __init__(
        self,
        samples: Callable[[], Iterable[Sample]] = list,
        others: Callable[[], Iterable[Metric]] = list,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._samples, self._others, self._monotonic = samples, others, monotonic
        self._series: dict[str, dict[tuple[str, ...], Series]] = {}
        self._lock = threading.Lock()

    def add(self, request: Mapping[str, Any]) -> None:
        """Add an export request as OTLP JSON. Raises ``ValueError``, ``KeyError``, ``TypeError``."""
        for group in request["resourceMetrics"]:
            function = _attributes(group.get("resource", {})).get("faas.name", "")
            for metric in (metric for scope in group["scopeMetrics"] for metric in scope["metrics"]):
                if instrument := INSTRUMENTS.get(metric["name"]):
                    self._add(instrument, function, metric)

    def page(self, accept: str = "") -> tuple[bytes, str]:
        """The page, with exemplars if the client accepts OpenMetrics, and its content type."""
        registry = CollectorRegistry()
        registry.register(self)
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type

    def describe(self) -> list[Metric]:
        """No names beforehand: registering would scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            families = [_family(INSTRUMENTS[name], self._shown(name, series)) for name, series in self._series.items()]
        by_name: dict[str, dict[tuple[str, ...], Series]] = {}
        for given in self._samples():
            by_name.setdefault(given.instrument.name, {})[given.labels] = Series(given.value)
        families += [_family(INSTRUMENTS[name], series) for name, series in by_name.items()]
        yield from families
        yield from self._others()

    def _add(self, instrument: Instrument, function: str, metric: Mapping[str, Any]) -> None:
        data = metric.get("sum") or metric.get("gauge") or metric.get("histogram") or {"dataPoints": []}
        with self._lock:
            known = self._series.setdefault(instrument.name, {})
            for point in data["dataPoints"]:
                given = _attributes(point)
                labels = (function, *[given.get(label.name, "") for label in instrument.labels])
                series = known.setdefault(labels, Series())
                series.at = self._monotonic()
                if instrument.kind == "histogram":
                    _add_histogram(series, instrument.bounds, point)
                elif instrument.kind == "gauge":
                    series.value = float(point["asDouble"])
                else:
                    series.value += float(point["asDouble"])

    def _shown(self, name: str, series: dict[tuple[str, ...], Series]) -> dict[tuple[str, ...], Series]:
        if INSTRUMENTS[name].kind != "gauge":
            return series
        oldest = self._monotonic() - GAUGE_SECONDS
        return {labels: one for labels, one in series.items() if one.at >= oldest}


def _add_histogram(series: Series, bounds: Sequence[float], point: Mapping[str, Any]) -> None:
    given = [int(count) for count in point["bucketCounts"]]
    if len(given) != len(bounds) + 1:
        raise ValueError("other bounds than the registry's")
    series.counts = [a + b for a, b in zip(series.counts or [0] * len(given), given, strict=True)]
    series.value += float(point["sum"])
    for exemplar in point.get("exemplars", []):
        value = float(exemplar["asDouble"])
        at = int(exemplar["timeUnixNano"]) / 1e9
        labels = {"trace_id": exemplar["traceId"], "span_id": exemplar["spanId"]}
        series.exemplars[bisect_left(bounds, value)] = Exemplar(labels, value, at)


def _family(instrument: Instrument, series: Mapping[tuple[str, ...], Series]) -> Metric:
    names = [label.prometheus for label in instrument.labels]
    if instrument.source != RUNNER:
        names = [FUNCTION, *names]
    if instrument.kind == "histogram":
        histogram = HistogramMetricFamily(instrument.prometheus, instrument.meaning, labels=names)
        for labels, one in series.items():
            histogram.add_metric(labels, _buckets(instrument.bounds, one), one.value)
        return histogram
    if instrument.kind == "gauge":
        gauge = GaugeMetricFamily(instrument.prometheus, instrument.meaning, labels=names)
        for labels, one in series.items():
            gauge.add_metric(labels, one.value)
        return gauge
    counter = CounterMetricFamily(instrument.prometheus, instrument.meaning, labels=names)
    for labels, one in series.items():
        counter.add_metric(labels, one.value)
    return counter


def _buckets(bounds: Sequence[float], series: Series) -> list[Any]:
    total, buckets = 0, []
    for position, (bound, count) in enumerate(zip((*bounds, float("inf")), series.counts, strict=True)):
        total += count
        name = "+Inf" if bound == float("inf") else str(float(bound))
        buckets.append((name, total, series.exemplars.get(position)))
    return buckets


def _attributes(holder: Mapping[str, Any]) -> dict[str, str]:
    return {given["key"]: str(next(iter(given["value"].values()))) for given in holder.get("attributes", [])}
