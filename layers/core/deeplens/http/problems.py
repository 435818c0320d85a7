"""The table from errors to RFC 9457 problems. No internal message reaches a client."""

import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, cast, get_args

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from deeplens import errors
from deeplens.errors import ApiError, DependencyUnavailable, ImageMerged, PipelineError
from deeplens.formats import errors as video_errors
from deeplens.http.schemas import Fault, Problem
from deeplens.telemetry import logger

MEDIA_TYPE = "application/problem+json"
PLACES = get_args(Fault.model_fields["place"].annotation)
RETRY_SECONDS = 5

STATUS_OF: dict[type[PipelineError], int] = {
    errors.EmptyFile: 422,
    errors.FileTooLarge: 413,
    errors.UnsupportedFormat: 415,
    errors.InvalidImage: 422,
    errors.StorageFull: 413,
    errors.DuplicateImage: 409,
    video_errors.VideoFormatUnsupported: 415,
    video_errors.InvalidVideo: 422,
    errors.VideoNotFound: 404,
    errors.ObjectNotFound: 404,
    errors.TenantNotFound: 403,
    errors.ImageNotFound: 404,
    errors.MediaExpired: 410,
    errors.ModelNotFound: 503,
    errors.ModelMismatch: 409,
    errors.TextUnsupported: 409,
    errors.NotServed: 409,
    errors.StoreNotReady: 409,
    errors.StoreNotOwned: 409,
    errors.ObjectChanged: 409,
    errors.TransientError: 503,
}
"""The status of the nearest class among an error's bases; other errors are answered 500."""

CODE_OF = {
    400: "malformed-request",
    404: "route-not-found",
    405: "method-not-allowed",
    413: "file-too-large",
    415: "media-type-unsupported",
}


def image_not_found(image_id: str) -> ApiError:
    return ApiError(404, "image-not-found", "Image not found", f"There is no image {image_id}.")


def upload_not_found(upload_id: str) -> ApiError:
    return ApiError(404, "upload-not-found", "Upload not found", f"There is no upload {upload_id}.")


def video_not_found(video_id: str) -> ApiError:
    return ApiError(404, "video-not-found", "Video not found", f"There is no video {video_id}.")


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error responses of a route's documentation, including those of every authenticated route."""
    return {
        status: {"model": Problem, "description": HTTPStatus(status).phrase}
        for status in sorted({400, 401, 403, 422, 500, 503, *statuses})
    }


def install(app: FastAPI) -> None:
    """Answer errors with problems; ``RequestContext`` answers exceptions that no handler expects."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(ImageMerged, _merged)
    app.add_exception_handler(PipelineError, _pipeline_error)
    app.add_exception_handler(DependencyUnavailable, _unavailable)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)


def problem_response(request: Request, error: ApiError, faults: Sequence[Fault] | None = None) -> Response:
    problem = Problem(
        type=f"/problems/{error.code}",
        title=error.title,
        status=error.status,
        detail=error.detail or None,
        instance=request.url.path,
        request_id=getattr(request.state, "request_id", None),
        errors=list(faults) if faults is not None else None,
    )
    body = problem.model_dump_json(by_alias=True, exclude_none=True)
    return Response(body, error.status, headers=error.headers, media_type=MEDIA_TYPE)


def unexpected() -> ApiError:
    return ApiError(500, "internal-error", "Internal error", "This is our fault; quote the requestId in a report.")


def from_pipeline(error: PipelineError) -> ApiError:
    """The HTTP answer to a pipeline error. The code is the pipeline's, as a slug."""
    status = next((STATUS_OF[cls] for cls in type(error).__mro__ if cls in STATUS_OF), 500)
    if status == 500:
        return unexpected()
    slug = error.code.lower().replace("_", "-")
    headers = {"Retry-After": str(RETRY_SECONDS)} if status == 503 else None
    return ApiError(status, slug, error.code.replace("_", " ").capitalize(), str(error), headers)


def faults_of(found: Sequence[Any]) -> list[Fault]:
    """Validation errors as faults; what was sent is not repeated."""
    return [_fault(tuple(error["loc"]), str(error["msg"])) for error in found]


def _fault(location: tuple[str | int, ...], message: str) -> Fault:
    place, path = (location[0], location[1:]) if location and location[0] in PLACES else ("body", location)
    pointer = "#" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
    return Fault(place=place, pointer=pointer, detail=message.removeprefix("Value error, "))


async def _api_error(request: Request, error: Exception) -> Response:
    return problem_response(request, cast("ApiError", error))


async def _merged(request: Request, error: Exception) -> Response:
    """Redirect to the image that this one was merged into; 308 keeps the method of a change."""
    merged = cast("ImageMerged", error)
    if f"/{merged.image_id}" not in request.url.path:
        return problem_response(request, image_not_found(merged.image_id))
    path = request.url.path.replace(f"/{merged.image_id}", f"/{merged.into}", 1)
    query = f"?{request.url.query}" if request.url.query else ""
    return Response(None, 301 if request.method == "GET" else 308, {"Location": path + query})


async def _pipeline_error(request: Request, error: Exception) -> Response:
    answer = from_pipeline(cast("PipelineError", error))
    if answer.status >= 500:
        logger().warning("request refused", request_id=request.state.request_id, reason=str(error), exc_info=error)
    return problem_response(request, answer)


async def _unavailable(request: Request, error: Exception) -> Response:
    missing = cast("DependencyUnavailable", error)
    request_id, reason = request.state.request_id, str(missing)
    logger().warning("dependency unavailable", request_id=request_id, dependency=missing.dependency, reason=reason)
    headers = {"Retry-After": str(max(1, math.ceil(missing.retry_after_seconds)))}
    detail = f"The {missing.dependency} does not answer. Retry; for uploads, reuse the Idempotency-Key."
    answer = ApiError(503, "temporarily-unavailable", "Temporarily unavailable", detail, headers)
    return problem_response(request, answer)


async def _invalid_request(request: Request, error: Exception) -> Response:
    faults = faults_of(cast("RequestValidationError", error).errors())
    summary = "; ".join(f"{fault.pointer}: {fault.detail}" for fault in faults[:3])
    answer = ApiError(422, "invalid-request", "Invalid request", summary)
    return problem_response(request, answer, faults)


async def _http_error(request: Request, error: Exception) -> Response:
    raised = cast("HTTPException", error)
    phrase = HTTPStatus(raised.status_code).phrase
    detail = raised.detail if raised.detail != phrase else ""
    if raised.status_code == 404:
        detail = f"Nothing is served at {request.url.path}."
    elif raised.status_code == 405:
        detail = f"{request.method} is not served at {request.url.path}."
    code = CODE_OF.get(raised.status_code, phrase.lower().replace(" ", "-"))
    return problem_response(request, ApiError(raised.status_code, code, phrase, detail, dict(raised.headers or {})))
