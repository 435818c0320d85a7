"""RFC 9457 problems of errors. No internal message reaches a client."""

import math
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Literal, get_args

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from deeplens.errors import ApiError, DependencyUnavailable, ImageMerged, PipelineError
from deeplens.http.schemas import Fault, Problem
from deeplens.telemetry.logs import logger
from deeplens.telemetry.security import security_event

MEDIA_TYPE = "application/problem+json"
PLACES = get_args(Fault.model_fields["place"].annotation)
RETRY_SECONDS = 5
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")

CODE_OF = {
    400: "malformed-request",
    404: "route-not-found",
    405: "method-not-allowed",
    413: "file-too-large",
    415: "media-type-unsupported",
}


def not_found(kind: Literal["image", "upload", "video"], own_id: str) -> ApiError:
    return ApiError(404, f"{kind}-not-found", f"{kind.capitalize()} not found", f"There is no {kind} {own_id}.")


image_not_found, upload_not_found = partial(not_found, "image"), partial(not_found, "upload")
video_not_found = partial(not_found, "video")


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error responses of a route's documentation, including those of every authenticated route."""
    return {
        status: {"model": Problem, "description": HTTPStatus(status).phrase}
        for status in sorted({400, 401, 403, 422, 500, 503, *statuses})
    }


def install(app: FastAPI) -> None:
    """Answer errors with problems; ``RequestContext`` answers exceptions that no handler expects."""
    handlers: dict[type[Exception], Any] = {
        ApiError: _api_error,
        ImageMerged: _merged,
        PipelineError: _pipeline_error,
        DependencyUnavailable: _unavailable,
        RequestValidationError: _invalid_request,
        HTTPException: _http_error,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


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
    return ApiError(500, "internal-error", "Internal error", "The server failed. Quote the requestId in a report.")


def from_pipeline(error: PipelineError) -> ApiError:
    """The HTTP answer to a pipeline error. The code is the pipeline's, as a slug."""
    if error.status == 500:
        return unexpected()
    slug = error.code.lower().replace("_", "-")
    headers = {"Retry-After": str(RETRY_SECONDS)} if error.status == 503 else None
    return ApiError(error.status, slug, error.code.replace("_", " ").capitalize(), str(error), headers)


def faults_of(found: Sequence[Any]) -> list[Fault]:
    """Validation errors as faults; what was sent is not repeated."""
    return [_fault(tuple(error["loc"]), str(error["msg"])) for error in found]


def _fault(location: tuple[str | int, ...], message: str) -> Fault:
    place, path = (location[0], location[1:]) if location and location[0] in PLACES else ("body", location)
    pointer = "#" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
    return Fault(place=place, pointer=pointer, detail=message.removeprefix("Value error, "))


async def _api_error(request: Request, error: ApiError) -> Response:
    if error.status == 403:
        caller = getattr(request.state, "caller", {})
        security_event("access_denied", code=error.code, method=request.method, path=request.url.path, **caller)
    return problem_response(request, error)


async def _merged(request: Request, merged: ImageMerged) -> Response:
    """Redirect to the image that this one was merged into; 308 keeps the method of a change."""
    if f"/{merged.image_id}" not in request.url.path:
        return problem_response(request, image_not_found(merged.image_id))
    path = request.url.path.replace(f"/{merged.image_id}", f"/{merged.into}", 1)
    query = f"?{request.url.query}" if request.url.query else ""
    return Response(None, 301 if request.method == "GET" else 308, {"Location": path + query})


async def _pipeline_error(request: Request, error: PipelineError) -> Response:
    answer = from_pipeline(error)
    if answer.status >= 500:
        logger().warning("request refused", request_id=request.state.request_id, reason=str(error), exc_info=error)
    return problem_response(request, answer)


async def _unavailable(request: Request, error: DependencyUnavailable) -> Response:
    request_id, dependency = request.state.request_id, error.dependency
    logger().warning("dependency unavailable", request_id=request_id, dependency=dependency, reason=str(error))
    headers = {"Retry-After": str(max(1, math.ceil(error.retry_after_seconds)))}
    detail = f"The {dependency} does not answer. Retry; for uploads, reuse the Idempotency-Key."
    answer = ApiError(503, "temporarily-unavailable", "Temporarily unavailable", detail, headers)
    return problem_response(request, answer)


async def _invalid_request(request: Request, error: RequestValidationError) -> Response:
    if (unsupported := _unsupported_type(request)) is not None:
        return problem_response(request, unsupported)
    faults = faults_of(error.errors())
    summary = "; ".join(f"{fault.pointer}: {fault.detail}" for fault in faults[:3])
    answer = ApiError(422, "invalid-request", "Invalid request", summary)
    return problem_response(request, answer, faults)


def _unsupported_type(request: Request) -> ApiError | None:
    """415 when the body is not in the media type that the route reads."""
    field = getattr(request.scope.get("route"), "body_field", None)
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    if field is None or not has_body:
        return None
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    expected = str(field.field_info.media_type)
    if sent == expected or (sent in FORMS if expected in FORMS else sent.endswith("+json")):
        return None
    detail = f"This takes {expected}, and the request has {sent or 'no Content-Type'}. Set the header Content-Type."
    return ApiError(415, CODE_OF[415], "Media type not supported", detail)


async def _http_error(request: Request, error: HTTPException) -> Response:
    status, phrase = error.status_code, HTTPStatus(error.status_code).phrase
    detail = error.detail if error.detail != phrase else ""
    if status == 404:
        detail = f"Nothing is served at {request.url.path}."
    elif status == 405:
        detail = f"{request.method} is not served at {request.url.path}."
    code = CODE_OF.get(status, phrase.lower().replace(" ", "-"))
    return problem_response(request, ApiError(status, code, phrase, detail, dict(error.headers or {})))
