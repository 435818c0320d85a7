"""The HTTP API as one ASGI application."""

from typing import Any

from fastapi import Depends, FastAPI

from deeplens.api import admin_keys, admin_models, admin_people, admin_tenants, content, images, problems, search, usage
from deeplens.api import admin_platform as platform
from deeplens.api.audited import audited
from deeplens.api.auth import OAUTH
from deeplens.api.files import form_of
from deeplens.api.middleware import BodyLimit, RequestContext
from deeplens.api.parts import AdminParts, ApiParts
from deeplens.api.quotas import RATE_LIMITED
from deeplens.contracts.api import Health

DESCRIPTION = """Upload images and find similar ones.

Every request carries a bearer token or `X-API-Key`; these decide the tenant. Errors are `application/problem+json`
(RFC 9457)."""
TAGS = [
    {"name": "images", "description": "Upload, follow, list, amend and delete images."},
    {"name": "search", "description": "Find images by similarity."},
    {"name": "usage", "description": "What you use, and how much you may."},
    {"name": "service", "description": "About the API itself."},
]
ADMIN_DESCRIPTION = """Look after tenants.

Every request carries a bearer token or `X-API-Key` with the scope `deeplens.api.admin`: an operator's reaches every
tenant, a tenant's own only itself. Errors are `application/problem+json` (RFC 9457)."""
ADMIN_TAGS = [
    {"name": "tenants", "description": "Create, suspend, delete."},
    {"name": "users", "description": "Who signs in, and their roles."},
    {"name": "keys", "description": "API keys of a tenant."},
    {"name": "clients", "description": "OAuth clients."},
    {"name": "platform", "description": "What happened, and what answers."},
    {"name": "models", "description": "Change a tenant's embedding model without downtime."},
    {"name": "service", "description": "About the API itself."},
]
FORM_OVERHEAD_BYTES = 128 * 1024
"""Room for boundaries, tags and metadata beside the file."""


def create_app(parts: ApiParts) -> FastAPI:
    """The search API over ``parts``; none of them is touched before a request needs it."""
    app = _application(parts, "DeepLens", DESCRIPTION, TAGS, "/v1")
    for router in (images.router, content.router, search.router, usage.router):
        app.include_router(router, responses=RATE_LIMITED)
    return app


def create_admin_app(parts: AdminParts) -> FastAPI:
    """The Admin API over ``parts``."""
    app = _application(parts, "DeepLens Admin", ADMIN_DESCRIPTION, ADMIN_TAGS, "/v1/admin")
    noted = [Depends(audited)]
    for router in (
        admin_tenants.router,
        *admin_people.routers,
        admin_keys.router,
        admin_models.router,
        platform.router,
    ):
        app.include_router(router, dependencies=noted)
    return app


def _application(parts: ApiParts, title: str, description: str, tags: list[dict[str, Any]], root: str) -> FastAPI:
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
