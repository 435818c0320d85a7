"""Provide metrics for Prometheus at ``/metrics``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64)
SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Metrics of one server. Only names of served models become labels, so that clients cannot add labels."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "deeplens_inference_requests", "Answered requests", ["model", "status"], registry=registry
        )
        self._latency = Histogram(
            "deeplens_inference_request_seconds",
            "Duration of a request",
            ["model"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._images = Counter("deeplens_inference_images", "Images embedded", ["model"], registry=registry)
        self._batch = Histogram(
            "deeplens_inference_batch_images",
            "Images per call of the model",
            ["model"],
            buckets=BATCH_BUCKETS,
            registry=registry,
        )
        self._calls = Histogram(
            "deeplens_inference_call_seconds",
            "Duration of a call of the model",
            ["model"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._decodes = Histogram(
            "deeplens_inference_decode_seconds",
            "Duration of decoding an image",
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._evictions = Counter(
            "deeplens_inference_evictions", "Models unloaded because of the limit", registry=registry
        )

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Register a gauge whose value is computed at each scrape."""
        Gauge(f"deeplens_inference_{name}", text, registry=self._registry).set_function(value)

    def count_request(self, model: str, status: int, seconds: float) -> None:
        self._requests.labels(model, status).inc()
        self._latency.labels(model).observe(seconds)

    def count_call(self, model: str, images: int, seconds: float) -> None:
        self._images.labels(model).inc(images)
        self._batch.labels(model).observe(images)
        self._calls.labels(model).observe(seconds)

    def count_eviction(self) -> None:
        self._evictions.inc()

    @contextmanager
    def time_decoding(self) -> Iterator[None]:
        with self._decodes.time():
            yield

    def page(self) -> bytes:
        return generate_latest(self._registry)
