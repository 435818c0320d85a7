"""Serve Open Inference Protocol v2, SageMaker's ``/ping`` and ``/invocations``, and Prometheus' ``/metrics``."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .batching import Floats, TimedFuture
from .gate import Busy, Gate
from .manifest import Manifest, ModelRefused
from .metrics import CONTENT_TYPE, Metrics
from .model import BadImage, BadPixels, EmbeddingModel
from .repository import Repository, UnknownModel
from .text import TextUnsupported
from .wire import (
    HEADER_LENGTH,
    MAX_IMAGES,
    SAGEMAKER_TYPE,
    BadRequest,
    InferRequest,
    TooLarge,
    format_response,
    header_length_of,
    parse_request,
)

MAX_BODY_BYTES = 64 * 1024 * 1024
ALIGNMENT_BYTES = 16
"""Tensors begin at a multiple of this address."""
MODEL_PATHS = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
STATUS_OF: dict[type[Exception], int] = {
    BadRequest: 400,
    BadImage: 400,
    BadPixels: 400,
    TextUnsupported: 400,
    UnknownModel: 404,
    TooLarge: 413,
    Busy: 429,
    ModelRefused: 503,
}

type Answer = tuple[bytes, int | None, dict[str, str]]
type Handler = Callable[[Request, Exception], Awaitable[Response]]


def create_app(
    repository: Repository, metrics: Metrics, queue_images: int = 2 * MAX_IMAGES, queue_bytes: int = 4 * MAX_BODY_BYTES
) -> Starlette:
    """Create the app for the models of ``repository``; requests that exceed the queue's limits get the answer 429."""
    gate = Gate(queue_images, queue_bytes)
    routes = [*_inference(repository, metrics, gate), *_metadata(repository), _metrics(repository, metrics, gate)]
    return Starlette(
        routes=routes, exception_handlers={**_handlers(), HTTPException: _handle_http_error, Exception: _handle_fault}
    )


def _inference(repository: Repository, metrics: Metrics, gate: Gate) -> list[Route]:
    async def run(request: Request, name: str, version: str | None) -> Answer:
        started, entry = time.perf_counter(), repository.find(name, version)
        name, version, status = entry.manifest.name, entry.manifest.version, 500
        try:
            with gate.request(_declared_size(request)) as reservation:
                length = header_length_of(request.headers.get("content-type", ""), request.headers.get(HEADER_LENGTH))
                infer_request = parse_request(await _body(request, length), length)
                reservation.set_images(infer_request.count)
                async with repository.use(name, version) as model:
                    embedding = await asyncio.wrap_future(future := _submit(model, infer_request))
            status = 200
            return *format_response(name, version, embedding, infer_request), server_timing(future)
        except tuple(STATUS_OF) as error:
            status = STATUS_OF[type(error)]
            raise
        finally:
            metrics.count_request(name, status, time.perf_counter() - started)

    async def infer(request: Request) -> Response:
        body, length, timing = await run(request, *_model_of(request))
        sized = {} if length is None else {HEADER_LENGTH: str(length)}
        kind = "application/json" if length is None else "application/octet-stream"
        return Response(body, media_type=kind, headers={**sized, **timing})

    async def invocations(request: Request) -> Response:
        """Serve SageMaker, whose custom attributes name the model: ``model=NAME;version=V``.

        With ``describe=true`` the response is the model's metadata, because SageMaker forwards no other path.
        """
        attributes = _attributes(request.headers.get("x-amzn-sagemaker-custom-attributes", ""))
        name, version = attributes.get("model", repository.default), attributes.get("version")
        if attributes.get("describe") == "true":
            return JSONResponse(_metadata_of(repository.find(name, version).manifest, repository.versions(name)))
        body, length, _ = await run(request, name, version)
        kind = "application/json" if length is None else f"{SAGEMAKER_TYPE}{length}"
        return Response(body, headers={"content-type": kind})

    endpoints = {**{f"{path}/infer": infer for path in MODEL_PATHS}, "/invocations": invocations}
    return [Route(path, endpoint, methods=["POST"]) for path, endpoint in endpoints.items()]


def server_timing(future: Future[Floats]) -> dict[str, str]:
    """The header that says how long the slowest image was decoded, waited for a call, and was embedded."""
    seconds = future.seconds if isinstance(future, TimedFuture) else {}
    steps = [f"{step};dur={value * 1000:.3f}" for step, value in seconds.items()]
    return {"Server-Timing": ", ".join(steps)} if steps else {}


def _metadata(repository: Repository) -> list[Route]:
    async def server(_: Request) -> Response:
        return JSONResponse({"name": "deeplens-inference", "version": "1", "extensions": ["binary_tensor_data"]})

    async def live(_: Request) -> Response:
        return JSONResponse({"live": True})

    # The port opens after the default model is loaded and warm, so a server that answers is ready.
    async def ready(_: Request) -> Response:
        return JSONResponse({"ready": True, "models": repository.names})

    async def model(request: Request) -> Response:
        name, version = _model_of(request)
        return JSONResponse(_metadata_of(repository.find(name, version).manifest, repository.versions(name)))

    async def model_ready(request: Request) -> Response:
        name, version = _model_of(request)
        async with repository.use(name, version):
            return JSONResponse({"name": name, "ready": True})

    endpoints = {"/v2": server, "/v2/health/live": live, "/v2/health/ready": ready, "/ping": ready}
    endpoints |= dict.fromkeys(MODEL_PATHS, model) | {f"{path}/ready": model_ready for path in MODEL_PATHS}
    return [Route(path, endpoint) for path, endpoint in endpoints.items()]


def _metrics(repository: Repository, metrics: Metrics, gate: Gate) -> Route:
    metrics.gauge("models_loaded", "Models in memory", lambda: len(repository.loaded))
    metrics.gauge("requests_under_way", "Requests in flight", lambda: gate.requests)
    metrics.gauge("images_under_way", "Images of the requests in flight", lambda: gate.images)
    metrics.gauge(
        "images_waiting", "Decoded images that wait for a call", lambda: sum(model.depth for model in repository.loaded)
    )

    async def page(_: Request) -> Response:
        return Response(metrics.page(), media_type=CONTENT_TYPE)

    return Route("/metrics", page)


def _model_of(request: Request) -> tuple[str, str | None]:
    """Return the model's name and version from the path."""
    return request.path_params["name"], request.path_params.get("version")


def _declared_size(request: Request) -> int:
    """Return the body's declared size, or the maximum if none is declared. Raises ``TooLarge``."""
    size = int(request.headers.get("content-length", MAX_BODY_BYTES))
    if size > MAX_BODY_BYTES:
        raise _too_large()
    return size


def _too_large() -> TooLarge:
    return TooLarge(f"a request may have at most {MAX_BODY_BYTES} bytes; split it")


async def _body(request: Request, header_length: int | None) -> memoryview:
    """Read the body into memory so that the tensor after its JSON header is aligned and pixels need no copy."""
    limit, start = _declared_size(request), -(header_length or 0) % ALIGNMENT_BYTES
    # Unwritten memory costs nothing, so a client that only declares a large size allocates none.
    whole, end = memoryview(np.empty(start + limit, np.uint8)), start
    async for chunk in request.stream():
        if end + len(chunk) > start + limit:
            raise _too_large()
        whole[end : end + len(chunk)] = chunk
        end += len(chunk)
    return whole[start:end]


def _submit(model: EmbeddingModel, request: InferRequest) -> Future[Floats]:
    if request.images is not None:
        return model.images(request.images)
    if request.texts is not None:
        return model.texts(request.texts)
    pixels, size = np.asarray(request.pixels, np.float32), model.manifest.input.size
    if pixels.shape[1:] != (3, size, size):
        raise BadRequest(f"pixels: shape is {list(pixels.shape)}, the model takes [n, 3, {size}, {size}]")
    return model.pixels(pixels)


def _metadata_of(manifest: Manifest, versions: list[str]) -> dict[str, Any]:
    size = manifest.input.size
    text = [{"name": "text", "datatype": "BYTES", "shape": [-1]}] if manifest.text else []
    return {
        "name": manifest.name,
        "versions": versions,
        "platform": "onnxruntime_onnx",
        "inputs": [
            {"name": "image", "datatype": "BYTES", "shape": [-1]},
            {"name": "pixels", "datatype": "FP32", "shape": [-1, 3, size, size]},
            *text,
        ],
        "outputs": [{"name": "embedding", "datatype": "FP32", "shape": [-1, manifest.dimensions]}],
        "parameters": {
            "version": manifest.version,
            "default_threshold": manifest.default_threshold,
            "description": manifest.description,
            "text": manifest.text is not None,
            **manifest.thresholds_as_parameters(),
        },
    }


def _attributes(header: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in header.split(";"))
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


def _handlers() -> dict[Any, Handler]:
    return {kind: _error_handler(status) for kind, status in STATUS_OF.items()}


async def _handle_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _handle_fault(_: Request, _error: Exception) -> Response:
    return JSONResponse({"error": "internal error"}, 500)


def _error_handler(status: int) -> Handler:
    async def respond(_: Request, error: Exception) -> Response:
        extra = {"index": error.position} if isinstance(error, BadImage) else {}
        seconds = error.retry_after_seconds if isinstance(error, Busy) else 30 if status == 503 else None
        headers = {"Retry-After": str(seconds)} if seconds else None
        return JSONResponse({"error": str(error), **extra}, status, headers)

    return respond
