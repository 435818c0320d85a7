"""Rates and quantiles between two readings, as Prometheus computes them, and what ``deeplens top`` prints."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from deeplens.telemetry import instruments as of
from deeplens.telemetry.metrics import Point
from deeplens.telemetry.otlp_metrics import metrics_request

from local.services.process import free_port
from local.telemetry.metrics import MetricStore, Sample, sample
from local.telemetry.rates import Rates, document_of, reading_of
from local.telemetry.receiver import TelemetryReceiver
from local.telemetry.store import FILE
from tests.harness.cli import deeplens

TOPIC, FUNCTION = "deeplens.images.uploaded", "on_image_uploaded"
COUNTER = '# TYPE faas_invocations_total counter\nfaas_invocations_total{{faas_name="f"}} {}\n'
HISTOGRAM = """# TYPE http_server_request_duration_seconds histogram
http_server_request_duration_seconds_bucket{{le="0.1"}} {}
http_server_request_duration_seconds_bucket{{le="0.3"}} {}
http_server_request_duration_seconds_bucket{{le="+Inf"}} {}
http_server_request_duration_seconds_count {}
http_server_request_duration_seconds_sum {}
"""


def points(records: int) -> list[Point]:
    return [
        Point(of.SENT, (TOPIC, ""), records),
        Point(of.CONSUMED, (TOPIC, "preprocess", "done", ""), records),
        Point(of.CONSUMED, (TOPIC, "preprocess", "invalid", "IMAGE_CORRUPT"), 2),
        Point(of.PROCESS_DURATION, (TOPIC, "preprocess"), 0, [0.2] * records),
        Point(of.DEPENDENCY_DURATION, ("index", ""), 0, [0.004]),
        Point(of.DEPENDENCY_DURATION, ("index", "IndexUnavailable"), 0, [0.004]),
        Point(of.API_REQUESTS, ("upload", "failed"), 1),
        Point(of.API_REQUESTS, ("upload", "ok"), 3),
        Point(of.IMAGE_DURATION, (), 0, [4.0] * records),
        Point(of.PENDING, ("tenant_a", "waiting"), 9),
        Point(of.PENDING_AGE, (), 12),
    ]


def samples() -> list[Sample]:
    lag = [sample(of.LAG, lag, group="g", topic=TOPIC, partition=str(n)) for n, lag in enumerate((3, 4))]
    return [*lag, sample(of.INVOCATIONS, 1, function=FUNCTION), sample(of.IN_FLIGHT, 1, function=FUNCTION)]


def store_of(records: int) -> MetricStore:
    store = MetricStore(samples)
    store.add(metrics_request(points(records), 1, 2, {"faas.name": FUNCTION}, exponential=False))
    return store


@pytest.mark.parametrize(("before", "after", "rate"), [(10, 16, 3), (10, 10, 0), (10, 4, 2)])
def test_a_counter_that_fell_began_anew(before: int, after: int, rate: float) -> None:
    rates = Rates(reading_of(COUNTER.format(before), 0), reading_of(COUNTER.format(after), 2))
    assert rates.per_second(of.INVOCATIONS) == rates.per_second(of.INVOCATIONS, faas_name="f") == rate
    assert rates.per_second(of.INVOCATIONS, faas_name="g") == 0


@pytest.mark.parametrize(
    ("part", "after", "expected"),
    [
        (0.5, (10, 10, 10), 0.05),
        (0.5, (0, 10, 10), 0.2),
        (0.95, (0, 10, 10), 0.29),
        (0.5, (4, 10, 10), 0.1 + 0.2 / 6),
        (0.95, (0, 0, 10), 0.3),
        (0.5, (0, 0, 0), None),
    ],
)
def test_a_quantile_is_that_of_promql(part: float, after: tuple[int, int, int], expected: float | None) -> None:
    zero = reading_of(HISTOGRAM.format(0, 0, 0, 0, 0), 0)
    rates = Rates(zero, reading_of(HISTOGRAM.format(*after, after[2], 1), 1))
    found = rates.quantile(of.HTTP_DURATION, part)
    assert found == (expected if expected is None else pytest.approx(expected))


def test_what_is_shown_is_computed_from_the_page() -> None:
    before = reading_of(MetricStore().page()[0].decode(), 0)
    document = document_of(Rates(before, reading_of(store_of(10).page()[0].decode(), 2)))
    assert document["images"] == {
        "completedPerSecond": 5,
        "p95Seconds": 4.8,
        "pending": 9,
        "oldestPendingSeconds": 12,
    }
    assert document["topics"] == [{"topic": TOPIC, "sentPerSecond": 5, "consumedPerSecond": 6, "lag": 7}]
    (function,) = document["functions"]
    assert function == {
        "function": FUNCTION,
        "invocationsPerSecond": 0.5,
        "errorsPerSecond": 0,
        "inFlight": 1,
        "recordsPerSecond": 6,
        "failedPerSecond": 0,
        "invalidPerSecond": 1,
        "waitingPerSecond": 0,
        "p95Ms": 195.0,
    }
    (dependency,) = document["dependencies"]
    assert (dependency["callsPerSecond"], dependency["errorsPerSecond"], dependency["meanMs"]) == (1, 0.5, 4)
    (operation,) = document["api"]
    assert (operation["requestsPerSecond"], operation["failedPerSecond"]) == (2, 0.5)


@pytest.fixture
def url(tmp_path: Path, socket_enabled: None) -> Iterator[str]:
    receiver = TelemetryReceiver(tmp_path / FILE, free_port(), store_of(10))
    receiver.start()
    yield f"{receiver.url}/metrics"
    receiver.stop()


def test_top_prints_tables_or_json(url: str) -> None:
    shown = deeplens("top", "--once", "--interval", "0.2", "--url", url)
    assert shown.exit_code == 0
    assert TOPIC in shown.output
    assert "consumed/s" in shown.output
    document = json.loads(deeplens("top", "--once", "--interval", "0.2", "--url", url, "--json").output)
    assert document["topics"][0]["lag"] == 7


def test_without_a_page_top_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, socket_enabled: None) -> None:
    failed = deeplens("top", "--once", "--url", f"http://127.0.0.1:{free_port()}/metrics")
    assert (failed.exit_code, "does not answer with metrics" in failed.output) == (1, True)
    monkeypatch.setenv("DEEPLENS_STATE_DIR", str(tmp_path))
    assert "nothing is running" in deeplens("top", "--once").output


def test_metrics_that_are_posted_are_shown(url: str) -> None:
    request = metrics_request(points(1), 1, 2, {"faas.name": FUNCTION}, exponential=False)
    answer = httpx.post(url.replace("/metrics", "/v1/metrics"), json=request, trust_env=False)
    assert answer.status_code == 200
    deadline = time.monotonic() + 10
    sent = f'messaging_client_sent_messages_total{{error_type="",faas_name="{FUNCTION}"'
    while f'{sent},messaging_destination_name="{TOPIC}"}} 11.0' not in httpx.get(url, trust_env=False).text:
        assert time.monotonic() < deadline
        time.sleep(0.02)
