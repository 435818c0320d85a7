"""The routes: Open Inference Protocol v2, and SageMaker's ``/ping`` and ``/invocations``."""

from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from .gate import Busy, Gate
from .manifest import Manifest
from .model import BadImage, EmbeddingModel, Floats
from .repository import Repository, UnknownModel
from .wire import (
    HEADER_LENGTH,
    SAGEMAKER_TYPE,
    BadRequest,
    InferRequest,
    TooLarge,
    format_response,
    header_length_of,
    parse_request,
)

MAX_BODY_BYTES = 64 * 1024 * 1024
STATUS_OF: dict[type[Exception], int] = {BadRequest: 400, BadImage: 400, UnknownModel: 404, TooLarge: 413, Busy: 429}

type Answer = tuple[bytes, int | None]


def create_app(repository: Repository, at_once: int = 2, waiting: int = 64) -> FastAPI:
    """The server over the models of ``repository``: ``at_once`` requests compute while ``waiting`` more may queue."""
    app = FastAPI(title="DeepLens inference", docs_url=None, redoc_url=None, openapi_url=None)
    _add_errors(app)
    _add_metadata(app, repository)
    _add_inference(app, repository, Gate(at_once, waiting))
    return app


def _add_metadata(app: FastAPI, repository: Repository) -> None:
    @app.get("/v2")
    async def server() -> dict[str, Any]:
        return {"name": "deeplens-inference", "version": "1", "extensions": ["binary_tensor_data"]}

    @app.get("/v2/health/live")
    async def live() -> dict[str, Any]:
        return {"live": True}

    # The port opens only after every model is loaded and warm, so that answering is being ready.
    @app.get("/v2/health/ready")
    @app.get("/ping")
    async def ready() -> dict[str, Any]:
        return {"ready": True, "models": repository.names}

    @app.get("/v2/models/{name}")
    @app.get("/v2/models/{name}/versions/{version}")
    async def metadata(name: str, version: str | None = None) -> dict[str, Any]:
        return _metadata(repository.get(name, version).manifest, repository.versions(name))

    @app.get("/v2/models/{name}/ready")
    @app.get("/v2/models/{name}/versions/{version}/ready")
    async def model_ready(name: str, version: str | None = None) -> dict[str, Any]:
        repository.get(name, version)
        return {"name": name, "ready": True}


def _add_inference(app: FastAPI, repository: Repository, gate: Gate) -> None:
    async def run(request: Request, model: EmbeddingModel) -> Answer:
        gate.check()
        length = header_length_of(request.headers.get("content-type", ""), request.headers.get(HEADER_LENGTH))
        body = await _body(request)
        return await gate.run(lambda: _answer(model, body, length))

    @app.post("/v2/models/{name}/infer")
    @app.post("/v2/models/{name}/versions/{version}/infer")
    async def infer(request: Request, name: str, version: str | None = None) -> Response:
        body, length = await run(request, repository.get(name, version))
        if length is None:
            return Response(body, media_type="application/json")
        return Response(body, media_type="application/octet-stream", headers={HEADER_LENGTH: str(length)})

    @app.post("/invocations")
    async def invocations(request: Request) -> Response:
        """SageMaker's form: the model is named by the custom attributes ``model=NAME;version=V``.

        With ``describe=true`` the answer is the model's metadata: an endpoint has no other way to ask for it.
        """
        asked = _attributes(request.headers.get("x-amzn-sagemaker-custom-attributes", ""))
        model = repository.get(asked.get("model", repository.default), asked.get("version"))
        if asked.get("describe") == "true":
            return JSONResponse(_metadata(model.manifest, repository.versions(model.manifest.name)))
        body, length = await run(request, model)
        kind = "application/json" if length is None else f"{SAGEMAKER_TYPE}{length}"
        return Response(body, headers={"content-type": kind})


async def _body(request: Request) -> bytes:
    """The request's body; too large a one is refused by its declared length, or where it passes the limit."""
    refusal = TooLarge(f"a request may have {MAX_BODY_BYTES} bytes")
    if int(request.headers.get("content-length", 0)) > MAX_BODY_BYTES:
        raise refusal
    size, chunks = 0, []
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise refusal
        chunks.append(chunk)
    return b"".join(chunks)


def _answer(model: EmbeddingModel, body: bytes, header_length: int | None) -> Answer:
    asked = parse_request(body, header_length)
    return format_response(model.manifest.name, model.manifest.version, _embedding(model, asked), asked)


def _embedding(model: EmbeddingModel, asked: InferRequest) -> Floats:
    if asked.images is not None:
        return model.embed_images(asked.images)
    pixels = np.asarray(asked.pixels, np.float32)
    size = model.manifest.input.size
    if pixels.shape[1:] != (3, size, size):
        raise BadRequest(f"pixels: shape is {list(pixels.shape)}, the model takes [n, 3, {size}, {size}]")
    finite = np.isfinite(pixels).all(axis=(1, 2, 3))
    if not finite.all():
        raise BadRequest(f"pixels: image {int(finite.argmin())} has values that are not finite")
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
            **manifest.thresholds_as_parameters(),
        },
    }


def _attributes(given: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in given.split(";"))
    return {name.strip(): value.strip() for name, mark, value in pairs if mark}


def _add_errors(app: FastAPI) -> None:
    for kind, status in STATUS_OF.items():
        app.add_exception_handler(kind, _error_answer(status))

    @app.exception_handler(HTTPException)
    async def no_route(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def fault(_: Request, _error: Exception) -> JSONResponse:
        return JSONResponse({"error": "internal error"}, 500)


def _error_answer(status: int) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
    headers = {"Retry-After": "1"} if status == 429 else None

    async def answer(_: Request, error: Exception) -> JSONResponse:
        extra = {"index": error.position} if isinstance(error, BadImage) else {}
        return JSONResponse({"error": str(error), **extra}, status, headers)

    return answer
