"""Deltas of many processes become cumulative series that Prometheus can query."""

from collections.abc import Sequence
from typing import Any

import pytest
from deeplens.telemetry import instruments as of
from deeplens.telemetry.context import SpanContext
from deeplens.telemetry.instruments import Instrument
from deeplens.telemetry.metrics import Point
from deeplens.telemetry.otlp_metrics import metrics_request
from prometheus_client.parser import text_string_to_metric_families

from local.telemetry.metrics import GAUGE_SECONDS, MetricStore, Sample, sample

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
SENT, TOPIC = "messaging_client_sent_messages_total", "messaging_destination_name"
DURATION = "http_server_request_duration_seconds"
SPAN = SpanContext("a" * 32, "1" * 16)


def request(*points: Point, function: str = "search_api", exponential: bool = False) -> dict[str, Any]:
    resource = {"faas.name": function}
    return metrics_request(points, 1_000_000_000, 2_000_000_000, resource, exponential=exponential)


def values(store: MetricStore, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """The samples of a name, by the values of labels."""
    text = store.page()[0].decode()
    return {
        tuple(found.labels[label] for label in labels): found.value
        for family in text_string_to_metric_families(text)
        for found in family.samples
        if found.name == name
    }


def durations(*seconds: float) -> Point:
    exemplar = (seconds[-1], SPAN)
    return Point(of.HTTP_DURATION, ("POST", "/v1/images", "202"), 0, list(seconds), exemplar)


def test_counters_add_up_over_processes_and_invocations() -> None:
    store = MetricStore()
    for _ in range(2):
        store.add(request(Point(of.SENT, ("t", ""), 2)))
    store.add(request(Point(of.SENT, ("t", ""), 5), function="on_image_uploaded"))
    assert values(store, SENT, "faas_name", TOPIC) == {("search_api", "t"): 4, ("on_image_uploaded", "t"): 5}


def test_buckets_are_cumulative_so_that_quantiles_work() -> None:
    store = MetricStore()
    store.add(request(durations(0.02, 0.3)))
    store.add(request(durations(0.31)))
    buckets = values(store, f"{DURATION}_bucket", "le")
    assert [buckets[bound,] for bound in ("0.025", "0.3", "0.5", "+Inf")] == [1, 2, 3, 3]
    assert values(store, f"{DURATION}_count", "http_route") == {("/v1/images",): 3}
    assert values(store, f"{DURATION}_sum", "http_response_status_code") == {("202",): pytest.approx(0.63)}


def test_who_accepts_openmetrics_sees_the_trace_of_a_value() -> None:
    store = MetricStore()
    store.add(request(durations(0.02)))
    text, content_type = store.page(OPENMETRICS)
    (line,) = [line for line in text.decode().splitlines() if f'trace_id="{SPAN.trace_id}"' in line]
    assert 'le="0.025"' in line
    assert content_type.startswith("application/openmetrics-text")
    assert b"trace_id" not in store.page()[0]


def test_a_gauge_is_its_last_value_and_disappears_when_nobody_sets_it() -> None:
    now = [0.0]
    store = MetricStore(monotonic=lambda: now[0])
    store.add(request(Point(of.PENDING_AGE, (), 7)))
    store.add(request(Point(of.PENDING_AGE, (), 3)))
    assert values(store, "deeplens_images_pending_age_seconds", "faas_name") == {("search_api",): 3}
    now[0] = GAUGE_SECONDS + 1
    assert values(store, "deeplens_images_pending_age_seconds", "faas_name") == {}


def test_samples_are_read_at_each_scrape() -> None:
    lag = iter([5, 6])

    def samples() -> Sequence[Sample]:
        return [sample(of.LAG, next(lag), group="g", topic="t", partition="0")]

    store = MetricStore(samples)
    assert values(store, "kafka_consumer_group_lag", "group", "partition") == {("g", "0"): 5}
    assert values(store, "kafka_consumer_group_lag", "group", "partition") == {("g", "0"): 6}


def test_what_is_not_registered_is_ignored() -> None:
    store = MetricStore()
    foreign = Instrument("other.requests", "counter", "{request}", "m", "s")
    store.add(request(Point(foreign, (), 2), Point(of.SENT, ("t", ""), 1)))
    store.add(request(durations(0.1), exponential=True))
    assert "other" not in store.page()[0].decode()
    assert values(store, SENT, TOPIC) == {("t",): 1}
    assert values(store, f"{DURATION}_count") == {}


@pytest.mark.parametrize("bounds", [["1", "2"], ["1"] * 40])
def test_buckets_of_other_bounds_are_refused(bounds: list[str]) -> None:
    asked = request(durations(0.1))
    asked["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["histogram"]["dataPoints"][0]["bucketCounts"] = bounds
    with pytest.raises(ValueError, match="bounds"):
        MetricStore().add(asked)
