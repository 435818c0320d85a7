"""The search API as one ASGI application, and what every API has."""

from typing import Any

from fastapi import FastAPI

from deeplens.api import content, images, problems, receipts, search, usage, videos
from deeplens.api.auth import OAUTH
from deeplens.api.files import form_of
from deeplens.api.middleware import BodyLimit, RequestContext
from deeplens.api.parts import ApiParts
from deeplens.api.quotas import RATE_LIMITED
from deeplens.contracts.api import Health

DESCRIPTION = """Upload images and videos and find similar ones.

Every request carries a bearer token or `X-API-Key`; these decide the tenant. Errors are `application/problem+json`
(RFC 9457)."""
TAGS = [
    {"name": "images", "description": "Upload, follow, list, amend and delete images."},
    {"name": "videos", "description": "Upload, follow, list and delete videos; searches find their frames."},
    {"name": "search", "description": "Find images by similarity."},
    {"name": "usage", "description": "What you use, and how much you may."},
    {"name": "service", "description": "About the API itself."},
]
FORM_OVERHEAD_BYTES = 128 * 1024
"""Room for boundaries, tags and metadata beside the file."""


def create_app(parts: ApiParts) -> FastAPI:
    """The search API over ``parts``; none of them is touched before a request needs it."""
    app = application(parts, "DeepLens", DESCRIPTION, TAGS, "/v1")
    for router in (images.router, receipts.router, content.router, videos.router, search.router, usage.router):
        app.include_router(router, responses=RATE_LIMITED)
    return app


def application(parts: ApiParts, title: str, description: str, tags: list[dict[str, Any]], root: str) -> FastAPI:
    """What every API has: problems, limits, a health route and its document."""
    app = FastAPI(
        title=title,
        version="1",
        description=description,
        openapi_tags=tags,
        openapi_url=f"{root}/openapi.json",
        docs_url=f"{root}/docs",
        redoc_url=None,
        redirect_slashes=False,
        form_limits=form_of(files=1),
    )
    app.state.parts = parts
    app.add_middleware(BodyLimit, max_bytes=parts.settings.max_upload_bytes + FORM_OVERHEAD_BYTES)
    app.add_middleware(RequestContext)
    problems.install(app)
    app.add_api_route(f"{root}/health", health, methods=["GET"], tags=["service"], summary="Whether the API answers")
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def health() -> Health:
    """Answers without asking any other part."""
    return Health()


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document, with problems under their own media type."""
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        for path in document["paths"].values():
            for operation in path.values():
                _name_problems(operation)
        _name_issuer(document, app.state.parts.settings.identity_url)
    return app.openapi_schema or {}


def _name_issuer(document: dict[str, Any], issuer: str) -> None:
    scheme = document.get("components", {}).get("securitySchemes", {}).get(OAUTH)
    if scheme:
        scheme["flows"]["authorizationCode"] |= {
            "authorizationUrl": f"{issuer}/connect/authorize",
            "tokenUrl": f"{issuer}/connect/token",
        }


def _name_problems(operation: dict[str, Any]) -> None:
    for status, response in operation["responses"].items():
        if status >= "400" and "application/json" in response.get("content", {}):
            response["content"] = {problems.MEDIA_TYPE: response["content"]["application/json"]}
