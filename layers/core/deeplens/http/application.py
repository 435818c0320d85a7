"""An application with problems, limits, a health route and its OpenAPI document."""

from typing import Any, Protocol

from fastapi import FastAPI
from starlette.responses import RedirectResponse

from deeplens.http import problems
from deeplens.http.files import form_of
from deeplens.http.middleware import BodyLimit, RequestContext
from deeplens.http.schemas import OAUTH, Health

FORM_OVERHEAD_BYTES = 128 * 1024
"""Room for boundaries, tags and metadata beside the file."""


class AppSettings(Protocol):
    """The settings that every API needs."""

    @property
    def max_upload_bytes(self) -> int: ...
    @property
    def identity_url(self) -> str: ...


class AppContainer(Protocol):
    """A container that resolves what routes inject."""

    @property
    def settings(self) -> AppSettings: ...


def application(
    container: AppContainer, title: str, description: str, tags: list[dict[str, Any]], root: str, page: str
) -> FastAPI:
    """An application with a health route; its document is below ``root``. Requests build what they need.

    Parameters
    ----------
    page : name of its page below ``/swagger`` of the Identity API; ``docs`` redirects there.
    """
    app = FastAPI(
        title=title,
        version="1",
        description=description,
        openapi_tags=tags,
        openapi_url=f"{root}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        form_limits=form_of(files=1),
    )
    app.state.container = container
    app.add_middleware(BodyLimit, max_bytes=container.settings.max_upload_bytes + FORM_OVERHEAD_BYTES)
    app.add_middleware(RequestContext)
    problems.install(app)
    app.add_api_route(f"{root}/health", health, methods=["GET"], tags=["service"], summary="Whether the API answers")
    address = f"{container.settings.identity_url}/swagger/{page}"
    app.add_route(f"{root}/docs", lambda _: RedirectResponse(address), include_in_schema=False)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def health() -> Health:
    """Answers without any dependency."""
    return Health()


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document, with problems under their own media type."""
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        for path in document["paths"].values():
            for operation in path.values():
                _name_problems(operation)
                if "requestBody" in operation and "422" in operation["responses"]:
                    unsupported = operation["responses"]["422"] | {"description": "Unsupported Media Type"}
                    operation["responses"].setdefault("415", unsupported)
        _name_issuer(document, app.state.container.settings.identity_url)
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
