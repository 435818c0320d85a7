"""The routes: Open Inference Protocol v2, SageMaker's ``/ping`` and ``/invocations``, Prometheus' ``/metrics``."""

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

from .batching import Floats
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
ALIGNMENT = 16
"""Bytes; memory begins at a multiple of it."""
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

type Answer = tuple[bytes, int | None]
type Handler = Callable[[Request, Exception], Awaitable[Response]]


def create_app(
    repository: Repository, metrics: Metrics, queue_images: int = 2 * MAX_IMAGES, queue_bytes: int = 4 * MAX_BODY_BYTES
) -> Starlette:
    """The server over the models of ``repository``; more than the queue takes is answered 429."""
    gate = Gate(queue_images, queue_bytes)
    routes = [*_inference(repository, metrics, gate), *_metadata(repository), _metrics(repository, metrics, gate)]
    return Starlette(routes=routes, exception_handlers={**_handlers(), HTTPException: _no_route, Exception: _fault})


def _inference(repository: Repository, metrics: Metrics, gate: Gate) -> list[Route]:
    async def run(request: Request, name: str, version: str | None) -> Answer:
        started, entry = time.perf_counter(), repository.find(name, version)
        name, version, status = entry.manifest.name, entry.manifest.version, 500
        try:
            with gate.request(_declared_size(request)) as place:
                length = header_length_of(request.headers.get("content-type", ""), request.headers.get(HEADER_LENGTH))
                asked = parse_request(await _body(request, length), length)
                place.take(asked.count)
                async with repository.use(name, version) as model:
                    embedding = await asyncio.wrap_future(_submitted(model, asked))
            status = 200
            return format_response(name, version, embedding, asked)
        except tuple(STATUS_OF) as error:
            status = STATUS_OF[type(error)]
            raise
        finally:
            metrics.answered(name, status, time.perf_counter() - started)

    async def infer(request: Request) -> Response:
        body, length = await run(request, *_named(request))
        if length is None:
            return Response(body, media_type="application/json")
        return Response(body, media_type="application/octet-stream", headers={HEADER_LENGTH: str(length)})

    async def invocations(request: Request) -> Response:
        """SageMaker's form: the model is named by the custom attributes ``model=NAME;version=V``.

        With ``describe=true`` the answer is the model's metadata: an endpoint has no other way to ask for it.
        """
        asked = _attributes(request.headers.get("x-amzn-sagemaker-custom-attributes", ""))
        name, version = asked.get("model", repository.default), asked.get("version")
        if asked.get("describe") == "true":
            return JSONResponse(_described(repository.find(name, version).manifest, repository.versions(name)))
        body, length = await run(request, name, version)
        kind = "application/json" if length is None else f"{SAGEMAKER_TYPE}{length}"
        return Response(body, headers={"content-type": kind})

    endpoints = {**{f"{path}/infer": infer for path in MODEL_PATHS}, "/invocations": invocations}
    return [Route(path, endpoint, methods=["POST"]) for path, endpoint in endpoints.items()]


def _metadata(repository: Repository) -> list[Route]:
    async def server(_: Request) -> Response:
        return JSONResponse({"name": "deeplens-inference", "version": "1", "extensions": ["binary_tensor_data"]})

    async def live(_: Request) -> Response:
        return JSONResponse({"live": True})

    # The port opens only after the default model is loaded and warm, so that answering is being ready.
    async def ready(_: Request) -> Response:
        return JSONResponse({"ready": True, "models": repository.names})

    async def model(request: Request) -> Response:
        name, version = _named(request)
        return JSONResponse(_described(repository.find(name, version).manifest, repository.versions(name)))

    async def model_ready(request: Request) -> Response:
        name, version = _named(request)
        async with repository.use(name, version):
            return JSONResponse({"name": name, "ready": True})

    found = {"/v2": server, "/v2/health/live": live, "/v2/health/ready": ready, "/ping": ready}
    found |= dict.fromkeys(MODEL_PATHS, model) | {f"{path}/ready": model_ready for path in MODEL_PATHS}
    return [Route(path, endpoint) for path, endpoint in found.items()]


def _metrics(repository: Repository, metrics: Metrics, gate: Gate) -> Route:
    metrics.gauge("models_loaded", "Models in memory", lambda: len(repository.loaded))
    metrics.gauge("requests_under_way", "Requests that hold a place", lambda: gate.requests)
    metrics.gauge("images_under_way", "Images of these requests", lambda: gate.images)
    metrics.gauge("images_waiting", "Decoded images", lambda: sum(model.depth for model in repository.loaded))

    async def page(_: Request) -> Response:
        return Response(metrics.page(), media_type=CONTENT_TYPE)

    return Route("/metrics", page)


def _named(request: Request) -> tuple[str, str | None]:
    """The model's name and version that a path holds."""
    return request.path_params["name"], request.path_params.get("version")


def _declared_size(request: Request) -> int:
    """Bytes that a body says it has; the most that one may have where it does not say. Raises ``TooLarge``."""
    size = int(request.headers.get("content-length", MAX_BODY_BYTES))
    if size > MAX_BODY_BYTES:
        raise _too_large()
    return size


def _too_large() -> TooLarge:
    return TooLarge(f"a request may have {MAX_BODY_BYTES} bytes")


async def _body(request: Request, header_length: int | None) -> memoryview:
    """The body, placed in memory so that the tensor behind its header is aligned: pixels need no copy."""
    limit, start = _declared_size(request), -(header_length or 0) % ALIGNMENT
    # Memory that is not written costs nothing: a client that only declares much takes none.
    whole, end = memoryview(np.empty(start + limit, np.uint8)), start
    async for chunk in request.stream():
        if end + len(chunk) > start + limit:
            raise _too_large()
        whole[end : end + len(chunk)] = chunk
        end += len(chunk)
    return whole[start:end]


def _submitted(model: EmbeddingModel, asked: InferRequest) -> Future[Floats]:
    if asked.images is not None:
        return model.images(asked.images)
    if asked.texts is not None:
        return model.texts(asked.texts)
    pixels, size = np.asarray(asked.pixels, np.float32), model.manifest.input.size
    if pixels.shape[1:] != (3, size, size):
        raise BadRequest(f"pixels: shape is {list(pixels.shape)}, the model takes [n, 3, {size}, {size}]")
    return model.pixels(pixels)


def _described(manifest: Manifest, versions: list[str]) -> dict[str, Any]:
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


def _attributes(given: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in given.split(";"))
    return {name.strip(): value.strip() for name, mark, value in pairs if mark}


def _handlers() -> dict[Any, Handler]:
    return {kind: _error_answer(status) for kind, status in STATUS_OF.items()}


async def _no_route(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _fault(_: Request, _error: Exception) -> Response:
    return JSONResponse({"error": "internal error"}, 500)


def _error_answer(status: int) -> Handler:
    async def answer(_: Request, error: Exception) -> Response:
        extra = {"index": error.position} if isinstance(error, BadImage) else {}
        wait = error.retry_after_seconds if isinstance(error, Busy) else 30 if status == 503 else None
        return JSONResponse({"error": str(error), **extra}, status, {"Retry-After": str(wait)} if wait else None)

    return answer
