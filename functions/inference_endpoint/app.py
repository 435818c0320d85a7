"""The routes: Open Inference Protocol v2, and SageMaker's ``/ping`` and ``/invocations``."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from .manifest import Manifest
from .model import BadImage, EmbeddingModel
from .repository import Repository, UnknownModel
from .wire import HEADER_LENGTH, SAGEMAKER_TYPE, BadRequest, InferRequest, format_response, parse_request

MAX_BODY_BYTES = 64 * 1024 * 1024


class Busy(Exception):
    """More requests wait than the queue holds."""


class Gate:
    """Lets a few requests compute at once and a bounded number wait."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._slots, self._places = threading.Semaphore(at_once), threading.Semaphore(at_once + waiting)

    def run(self, work: Callable[[], Any]) -> Any:
        if not self._places.acquire(blocking=False):
            raise Busy
        try:
            with self._slots:
                return work()
        finally:
            self._places.release()


def create_app(repository: Repository, at_once: int = 2, waiting: int = 64) -> FastAPI:
    """The server over the models of ``repository``."""
    app = FastAPI(title="DeepLens inference", docs_url=None, redoc_url=None)
    gate = Gate(at_once, waiting)
    for kind, status in ((BadRequest, 400), (BadImage, 400), (UnknownModel, 404)):
        app.add_exception_handler(kind, _error_answer(status))
    app.add_exception_handler(Busy, _busy_answer)

    @app.get("/v2")
    def server() -> dict[str, Any]:
        return {"name": "deeplens-inference", "version": "1", "extensions": ["binary_tensor_data"]}

    @app.get("/v2/health/live")
    @app.get("/v2/health/ready")
    @app.get("/ping")
    def ready() -> dict[str, Any]:
        return {"ready": True, "models": repository.names}

    @app.get("/v2/models/{name}")
    @app.get("/v2/models/{name}/versions/{version}")
    def metadata(name: str, version: str | None = None) -> dict[str, Any]:
        return _metadata(repository.get(name, version).manifest, repository.versions(name))

    @app.get("/v2/models/{name}/ready")
    @app.get("/v2/models/{name}/versions/{version}/ready")
    def model_ready(name: str, version: str | None = None) -> dict[str, Any]:
        repository.get(name, version)
        return {"ready": True}

    @app.post("/v2/models/{name}/infer")
    @app.post("/v2/models/{name}/versions/{version}/infer")
    async def infer(request: Request, name: str, version: str | None = None) -> Response:
        given = request.headers.get(HEADER_LENGTH)
        body, length = await _infer(request, name, version, _header_length(given))
        if length is None:
            return Response(body, media_type="application/json")
        return Response(body, media_type="application/octet-stream", headers={HEADER_LENGTH: str(length)})

    @app.post("/invocations")
    async def invocations(request: Request) -> Response:
        """SageMaker's form: the model is named by the custom attributes ``model=NAME;version=V``."""
        kind = request.headers.get("content-type", "")
        given = kind.removeprefix(SAGEMAKER_TYPE) if kind.startswith(SAGEMAKER_TYPE) else None
        asked = _attributes(request.headers.get("x-amzn-sagemaker-custom-attributes", ""))
        name = asked.get("model", repository.default)
        body, length = await _infer(request, name, asked.get("version"), _header_length(given))
        media = "application/json" if length is None else f"{SAGEMAKER_TYPE}{length}"
        return Response(body, headers={"content-type": media})

    async def _infer(
        request: Request, name: str, version: str | None, header_length: int | None
    ) -> tuple[bytes, int | None]:
        model = repository.get(name, version)
        raw = await request.body()
        if len(raw) > MAX_BODY_BYTES:
            raise BadRequest(f"the request has {len(raw)} bytes; at most {MAX_BODY_BYTES}")
        asked = parse_request(raw, header_length)
        embedding = await asyncio.to_thread(gate.run, lambda: _embed(model, asked))
        return format_response(model.manifest.name, model.manifest.version, embedding, asked)

    return app


def _embed(model: EmbeddingModel, asked: InferRequest) -> Any:
    if asked.images is not None:
        return model.embed_images(asked.images)
    pixels = np.asarray(asked.pixels, np.float32)
    size = model.manifest.input.size
    if pixels.shape[1:] != (3, size, size):
        raise BadRequest(f"pixels: shape is {list(pixels.shape)}, the model takes [n, 3, {size}, {size}]")
    if not np.isfinite(pixels).all():
        raise BadRequest("pixels: not every value is finite")
    return model.embed_pixels(pixels)


def _metadata(manifest: Manifest, versions: list[str]) -> dict[str, Any]:
    size = manifest.input.size
    return {
        "name": manifest.name,
        "versions": versions,
        "platform": "onnxruntime_onnx",
        "inputs": [
            {"name": "image", "datatype": "BYTES", "shape": [-1]},
            {"name": "pixels", "datatype": "FP32", "shape": [-1, 3, size, size]},
        ],
        "outputs": [{"name": "embedding", "datatype": "FP32", "shape": [-1, manifest.dimensions]}],
        "parameters": {
            "version": manifest.version,
            "default_threshold": manifest.default_threshold,
            "description": manifest.description,
        },
    }


def _header_length(given: str | None) -> int | None:
    if given is None:
        return None
    if not given.isdecimal():
        raise BadRequest("the JSON header's length is not a number")
    return int(given)


def _attributes(given: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in given.split(";"))
    return {name.strip(): value.strip() for name, mark, value in pairs if mark}


def _error_answer(status: int) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
    async def answer(_: Request, error: Exception) -> JSONResponse:
        extra = {"index": error.position} if isinstance(error, BadImage) else {}
        return JSONResponse({"error": str(error), **extra}, status)

    return answer


async def _busy_answer(_: Request, _error: Exception) -> JSONResponse:
    return JSONResponse({"error": "the queue is full"}, 429, {"Retry-After": "1"})
