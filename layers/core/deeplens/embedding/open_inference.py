"""``Embedder`` on a server of the Open Inference Protocol over HTTP: the container of DeepLens, or Triton."""

import re
from contextlib import suppress
from typing import Any

import urllib3
from pydantic_core import from_json

from deeplens.embedding.batched import BatchedEmbedder
from deeplens.embedding.model import ModelRef
from deeplens.embedding.wire import HEADER_LENGTH
from deeplens.errors import FileTooLarge, InferenceBusy, InferenceUnavailable, InvalidImage, ModelNotFound
from deeplens.settings import Settings
from deeplens.telemetry import conventions as names
from deeplens.telemetry import tracing
from deeplens.telemetry.instruments import INFERENCE_PHASE
from deeplens.telemetry.metrics import record, timed

CONNECT_SECONDS = 2.0
SERVER_TIMING = re.compile(r"(queue|decode|run);dur=(\d+(?:\.\d+)?)")
TIMES = {"queue": names.QUEUE_MS, "decode": names.DECODE_MS, "run": names.RUN_MS}
ERRORS: dict[int, type[Exception]] = {400: InvalidImage, 404: ModelNotFound, 413: FileTooLarge}


class HttpTransport:
    """One connection pool, without retries: the pipeline repeats records."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._url = url.rstrip("/")
        timeout = urllib3.Timeout(connect=min(CONNECT_SECONDS, timeout_seconds), read=timeout_seconds)
        self._pool = urllib3.PoolManager(maxsize=8, timeout=timeout, retries=False)

    def infer(self, body: bytes, header_length: int, model: ModelRef) -> tuple[bytes, int]:
        path = f"models/{model.name}/versions/{model.version}/infer"
        headers = {HEADER_LENGTH: str(header_length), "Content-Type": "application/octet-stream"}
        attributes = {names.MODEL: f"{model.name}:{model.version}", names.MODEL_OPERATION: "embeddings"}
        with timed("inference"), tracing.span("inference embeddings", attributes=attributes) as span:
            if context := tracing.traceparent():
                headers["traceparent"] = context
            answer = self._request("POST", path, body=body, headers=headers)
            times = times_of(answer.headers.get("Server-Timing", ""))
            span.set({TIMES[phase]: milliseconds for phase, milliseconds in times.items()})
        for phase, milliseconds in times.items():
            record(INFERENCE_PHASE, milliseconds / 1000, phase=phase)
        return answer.data, length_of(answer.headers.get(HEADER_LENGTH, ""))

    def describe(self, name: str, version: str) -> bytes:
        return self._request("GET", f"models/{name}/versions/{version}").data

    def _request(self, method: str, path: str, **options: Any) -> urllib3.BaseHTTPResponse:
        try:
            answer = self._pool.request(method, f"{self._url}/v2/{path}", **options)
        except urllib3.exceptions.HTTPError as error:
            raise InferenceUnavailable(type(error).__name__) from error
        if answer.status != 200:
            raise error_of(answer.status, answer.data, answer.headers.get("Retry-After"))
        return answer


def times_of(server_timing: str) -> dict[str, float]:
    """Milliseconds that an image waited, was decoded and was embedded, as far as the endpoint says it."""
    return {phase: float(duration) for phase, duration in SERVER_TIMING.findall(server_timing)}


def length_of(given: str) -> int:
    """Bytes of JSON before the tensors; 0, which no decoder accepts, for a missing or invalid header."""
    return int(given) if given.isascii() and given.isdecimal() else 0


def error_of(status: int, body: bytes, retry_after: str | None = None) -> Exception:
    """The error of a response other than 200."""
    message = f"answered {status}"
    with suppress(ValueError, KeyError, TypeError):
        message = str(from_json(body)["error"])[:300]
    if status in (429, 503):
        seconds = float(retry_after) if retry_after and retry_after.isdecimal() else 1.0
        return InferenceBusy(message, retry_after_seconds=seconds)
    return ERRORS.get(status, InferenceUnavailable)(message)


class OpenInferenceEmbedder(BatchedEmbedder):
    """The adapter for ``INFERENCE_URL``."""

    def __init__(self, settings: Settings) -> None:
        transport = HttpTransport(settings.inference_url, settings.inference_timeout_seconds)
        super().__init__(transport, settings.inference_max_batch, settings.inference_max_request_bytes)
