"""/connect/token, /revocation, /introspect and /userinfo: what programs call."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.security import HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials
from starlette.responses import JSONResponse, Response

from deeplens.http.dependencies import Injected
from deeplens.identity.requests import Form, protocol_request
from deeplens.identity.server import IdentityServer
from deeplens.identity.tokens import user_claims

router = APIRouter(prefix="/connect", tags=["protocol"])
type Endpoint = Callable[..., Response]
bearer = HTTPBearer(auto_error=False, scheme_name="accessToken", description="An access token with scope openid.")
TEXT = {"type": "string"}
OAUTH_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": TEXT, "error_description": TEXT, "error_uri": TEXT},
}
DESCRIPTIONS = {
    200: "Done",
    400: "The request is not valid: ``error`` says why (RFC 6749)",
    401: "The client or the token is not valid",
    403: "The token lacks a scope",
}


def _answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Responses for a route's documentation, beside the problems of every route."""
    return {
        status: {
            "description": DESCRIPTIONS[status],
            "content": {"application/json": {"schema": {"type": "object"} if status < 400 else OAUTH_ERROR}},
        }
        for status in statuses
    }


def _form_route(path: str, summary: str, required: str, *optional: str) -> Callable[[Endpoint], Endpoint]:
    """A route for programs. Authlib reads the form, which FastAPI therefore cannot document."""
    names = [required, *optional, "client_id", "client_secret"]
    schema = {"type": "object", "required": [required], "properties": dict.fromkeys(names, TEXT)}
    form = {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": schema}}}
    documented: dict[str, Any] = {"openapi_extra": {"requestBody": form}, "responses": _answers(200, 400, 401)}
    return router.post(path, summary=summary, response_model=None, **documented)


@_form_route("/token", "Get tokens", "grant_type", "scope", "code", "code_verifier", "redirect_uri", "refresh_token")
def token(request: Request, form: Form, server: Injected[IdentityServer]) -> Response:
    """Grants: ``client_credentials``, ``authorization_code`` with ``code_verifier``, ``refresh_token``."""
    return server.answer("token", protocol_request(request, form))


@_form_route("/revocation", "Revoke a token", "token", "token_type_hint")
def revocation(request: Request, form: Form, server: Injected[IdentityServer]) -> Response:
    """Ends the token's whole family; an unknown token is fine (RFC 7009)."""
    return server.answer("revocation", protocol_request(request, form))


@_form_route("/introspect", "Ask about a token", "token", "token_type_hint")
def introspect(request: Request, form: Form, server: Injected[IdentityServer]) -> Response:
    """``active`` and the claims, for clients with a secret (RFC 7662)."""
    return server.answer("introspection", protocol_request(request, form))


USERINFO_ANSWERS = _answers(200, 401, 403)


@router.post("/userinfo", name="post_userinfo", summary="The same", response_model=None, responses=USERINFO_ANSWERS)
@router.get("/userinfo", summary="Who the token is about", response_model=None, responses=USERINFO_ANSWERS)
def userinfo(
    server: Injected[IdentityServer], presented: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Response:
    claims = server.tokens.claims_of(presented.credentials) if presented else None
    if claims is None or not _is_live(server, claims):
        return _challenge(401, "invalid_token" if presented else "")
    if "openid" not in claims["scope"].split():
        return _challenge(403, "insufficient_scope")
    user = server.users.find(claims["sub"])
    return JSONResponse(user_claims(user, claims["scope"])) if user else _challenge(401, "invalid_token")


def _is_live(server: IdentityServer, claims: dict[str, Any]) -> bool:
    """Whether the token's family is live; a client's own token has none, and is about no user."""
    family = server.grants.family(claims["family"], server.clock.now()) if "family" in claims else None
    return family is not None and family.live


def _challenge(status: int, error: str) -> Response:
    reason = f', error="{error}"' if error else ""
    body = {"error": error or "invalid_request"}
    return JSONResponse(body, status, headers={"WWW-Authenticate": f'Bearer realm="deeplens"{reason}'})
