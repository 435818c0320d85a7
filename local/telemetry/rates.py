"""Rates between two readings of ``/metrics``."""

import math
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deeplens.telemetry import instruments as of
from deeplens.telemetry.instruments import Instrument, Label
from prometheus_client.parser import text_string_to_metric_families

from local.services import ServiceFailed

TIMEOUT_SECONDS = 10
type Labels = Mapping[str, str]
type Samples = dict[str, list[tuple[Labels, float]]]
FUNCTION = "faas_name"


@dataclass(frozen=True, slots=True)
class Reading:
    """The samples of a page by name; ``at`` by the monotonic clock."""

    at: float
    samples: Samples


def read(url: str) -> Reading:
    """Raises ``ServiceFailed``."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=TIMEOUT_SECONDS) as answer:
            return reading_of(answer.read().decode(), time.monotonic())
    except (OSError, ValueError) as error:
        raise ServiceFailed(f"{url} does not answer with metrics ({error}). Is the stack running?") from None


def reading_of(text: str, at: float) -> Reading:
    samples: Samples = {}
    for family in text_string_to_metric_families(text):
        for found in family.samples:
            samples.setdefault(found.name, []).append((found.labels, found.value))
    return Reading(at, samples)


class Rates:
    """What happened between two readings.

    A counter that fell was reset: all that it has counts.
    """

    def __init__(self, before: Reading, after: Reading) -> None:
        self._before, self._after = before, after
        self.seconds = max(1e-9, after.at - before.at)

    def values(self, label: Label | str, *instruments: Instrument) -> list[str]:
        """The values that a label has in any of the instruments, sorted."""
        name = label if isinstance(label, str) else label.prometheus
        series = (found for each in instruments for found in self._after.samples.get(_series(each), []))
        return sorted({labels.get(name, "") for labels, _ in series} - {""})

    def per_second(self, instrument: Instrument, **labels: str) -> float:
        return self._increase(_series(instrument), labels) / self.seconds

    def level(self, instrument: Instrument, **labels: str) -> float:
        """The sum of gauges now."""
        return sum(_matching(self._after.samples.get(instrument.prometheus, []), labels))

    def mean(self, instrument: Instrument, **labels: str) -> float | None:
        """Of a histogram; None if nothing happened."""
        count = self._increase(f"{instrument.prometheus}_count", labels)
        return self._increase(f"{instrument.prometheus}_sum", labels) / count if count else None

    def quantile(self, instrument: Instrument, part: float, **labels: str) -> float | None:
        """As ``histogram_quantile`` of PromQL: linear within a bucket, and the last bound for what is above it."""
        name = f"{instrument.prometheus}_bucket"
        bounds = sorted({float(found["le"]) for found, _ in self._after.samples.get(name, [])})
        counts = [self._increase(name, {**labels, "le": _bound(bound)}) for bound in bounds]
        if not counts or not counts[-1]:
            return None
        rank = part * counts[-1]
        position = next(index for index, count in enumerate(counts) if count >= rank)
        if math.isinf(bounds[position]):
            return bounds[position - 1]
        lower, below = (bounds[position - 1], counts[position - 1]) if position else (0.0, 0.0)
        within = (rank - below) / (counts[position] - below) if counts[position] > below else 0.0
        return lower + (bounds[position] - lower) * within

    def _increase(self, name: str, labels: Labels) -> float:
        before = {tuple(sorted(own.items())): value for own, value in self._before.samples.get(name, [])}
        total = 0.0
        for own, value in self._after.samples.get(name, []):
            if labels.items() <= own.items():
                earlier = before.get(tuple(sorted(own.items())), 0.0)
                total += value - earlier if value >= earlier else value
        return total


def document_of(rates: Rates) -> dict[str, Any]:
    """What ``deeplens top`` shows, as JSON; times in milliseconds unless their name says otherwise."""
    return {
        "seconds": round(rates.seconds, 2),
        "images": {
            "completedPerSecond": round(rates.per_second(of.IMAGE_DURATION), 2),
            "p95Seconds": _rounded(rates.quantile(of.IMAGE_DURATION, 0.95)),
            "pending": int(rates.level(of.PENDING)),
            "oldestPendingSeconds": rates.level(of.PENDING_AGE),
        },
        "topics": list(_topics(rates)),
        "functions": list(_functions(rates)),
        "dependencies": list(_dependencies(rates)),
        "api": list(_operations(rates)),
    }


def _topics(rates: Rates) -> Iterator[dict[str, Any]]:
    for topic in rates.values(of.KAFKA_TOPIC, of.LAG):
        yield {
            "topic": topic,
            "sentPerSecond": round(rates.per_second(of.SENT, messaging_destination_name=topic), 2),
            "consumedPerSecond": round(rates.per_second(of.CONSUMED, messaging_destination_name=topic), 2),
            "lag": int(rates.level(of.LAG, topic=topic)),
        }


def _functions(rates: Rates) -> Iterator[dict[str, Any]]:
    for function in rates.values(of.FUNCTION, of.INVOCATIONS):
        own = {FUNCTION: function}
        outcomes = {
            name: round(rates.per_second(of.CONSUMED, deeplens_outcome=name, **own), 2)
            for name in ("failed", "invalid", "waiting")
        }
        stage = rates.quantile(of.PROCESS_DURATION, 0.95, **own)
        yield {
            "function": function,
            "invocationsPerSecond": round(rates.per_second(of.INVOCATIONS, **own), 2),
            "errorsPerSecond": round(rates.per_second(of.ERRORS, **own), 2),
            "inFlight": int(rates.level(of.IN_FLIGHT, **own)),
            "recordsPerSecond": round(rates.per_second(of.CONSUMED, **own), 2),
            **{f"{name}PerSecond": rate for name, rate in outcomes.items()},
            "p95Ms": _milliseconds(rates.quantile(of.HTTP_DURATION, 0.95, **own) if stage is None else stage),
        }


def _dependencies(rates: Rates) -> Iterator[dict[str, Any]]:
    count = of.DEPENDENCY_DURATION
    for dependency in rates.values("deeplens_dependency", count):
        own = {"deeplens_dependency": dependency}
        calls = rates.per_second(count, **own)
        yield {
            "dependency": dependency,
            "callsPerSecond": round(calls, 2),
            "errorsPerSecond": round(calls - rates.per_second(count, error_type="", **own), 2),
            "meanMs": _milliseconds(rates.mean(of.DEPENDENCY_DURATION, **own)),
            "p95Ms": _milliseconds(rates.quantile(of.DEPENDENCY_DURATION, 0.95, **own)),
        }


def _operations(rates: Rates) -> Iterator[dict[str, Any]]:
    for operation in rates.values(of.OPERATION, of.API_REQUESTS):
        own = {of.OPERATION.prometheus: operation}
        yield {
            "operation": operation,
            "requestsPerSecond": round(rates.per_second(of.API_REQUESTS, **own), 2),
            "failedPerSecond": round(rates.per_second(of.API_REQUESTS, deeplens_outcome="failed", **own), 2),
            "p95Ms": _milliseconds(rates.quantile(of.API_DURATION, 0.95, **own)),
        }


def _series(instrument: Instrument) -> str:
    """The series that counts: of a histogram, its number of values."""
    return f"{instrument.prometheus}_count" if instrument.kind == "histogram" else instrument.prometheus


def _matching(samples: Iterable[tuple[Labels, float]], labels: Labels) -> Iterator[float]:
    return (value for own, value in samples if labels.items() <= own.items())


def _bound(bound: float) -> str:
    return "+Inf" if math.isinf(bound) else str(bound)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
