"""Provide metrics for Prometheus at ``/metrics``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

BATCHES = (1, 2, 4, 8, 16, 32, 64)
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """One registry per server. Models are labels; names that nobody serves never become one."""

    def __init__(self) -> None:
        self._registry = own = CollectorRegistry()
        ProcessCollector(registry=own)
        self._requests = Counter("deeplens_inference_requests", "Answers", ["model", "status"], registry=own)
        self._latency = Histogram(
            "deeplens_inference_request_seconds", "From the first byte", ["model"], buckets=SECONDS, registry=own
        )
        self._images = Counter("deeplens_inference_images", "Images embedded", ["model"], registry=own)
        self._batch = Histogram(
            "deeplens_inference_batch_images", "Images of a call", ["model"], buckets=BATCHES, registry=own
        )
        self._calls = Histogram(
            "deeplens_inference_call_seconds", "A call of the model", ["model"], buckets=SECONDS, registry=own
        )
        self._decodes = Histogram(
            "deeplens_inference_decode_seconds", "Decoding an image", buckets=SECONDS, registry=own
        )
        self._evictions = Counter("deeplens_inference_evictions", "Models unloaded to make room", registry=own)

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A value that is asked for at each scrape."""
        Gauge(f"deeplens_inference_{name}", text, registry=self._registry).set_function(value)

    def answered(self, model: str, status: int, seconds: float) -> None:
        self._requests.labels(model, status).inc()
        self._latency.labels(model).observe(seconds)

    def called(self, model: str, images: int, seconds: float) -> None:
        self._images.labels(model).inc(images)
        self._batch.labels(model).observe(images)
        self._calls.labels(model).observe(seconds)

    def evicted(self) -> None:
        self._evictions.inc()

    @contextmanager
    def decoding(self) -> Iterator[None]:
        with self._decodes.time():
            yield

    def page(self) -> bytes:
        return generate_latest(self._registry)
