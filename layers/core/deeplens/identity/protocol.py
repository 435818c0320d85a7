"""/connect/token, /revocation, /introspect and /userinfo: what programs call."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.security import HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials
from starlette.responses import JSONResponse, Response

from deeplens.http.dependencies import Injected
from deeplens.identity.documents import FORMS, answers
from deeplens.identity.requests import Form, protocol_request
from deeplens.identity.server import IdentityServer
from deeplens.identity.tokens import user_claims

router = APIRouter(prefix="/connect", tags=["protocol"])
bearer = HTTPBearer(auto_error=False, scheme_name="accessToken", description="An access token with scope openid.")


@router.post(
    "/token", summary="Get tokens", response_model=None, openapi_extra=FORMS["token"], responses=answers(200, 400, 401)
)
def token(request: Request, form: Form, server: Injected[IdentityServer]) -> Response:
    """Grants: ``client_credentials``, ``authorization_code`` with ``code_verifier``, ``refresh_token``."""
    return server.token(protocol_request(request, form)).json()


@router.post(
    "/revocation", summary="Revoke a token", response_model=None, openapi_extra=FORMS["revocation"],
    responses=answers(200, 400, 401),
)  # fmt: skip
def revocation(request: Request, form: Form, server: Injected[IdentityServer]) -> Response:
    """Ends the token's whole family; an unknown token is fine (RFC 7009)."""
    return server.endpoint("revocation", protocol_request(request, form)).json()


@router.post(
    "/introspect", summary="Ask about a token", response_model=None, openapi_extra=FORMS["introspect"],
    responses=answers(200, 400, 401),
)  # fmt: skip
def introspect(request: Request, form: Form, server: Injected[IdentityServer]) -> Response:
    """``active`` and the claims, for clients with a secret (RFC 7662)."""
    return server.endpoint("introspection", protocol_request(request, form)).json()


@router.get("/userinfo", summary="Who the token is about", response_model=None, responses=answers(200, 401, 403))
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


@router.post("/userinfo", summary="The same", response_model=None, responses=answers(200, 401, 403))
def post_userinfo(
    server: Injected[IdentityServer], presented: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Response:
    return userinfo(server, presented)


def _is_live(server: IdentityServer, claims: dict[str, Any]) -> bool:
    """Whether the token's family is live; a client's own token has none, and is about no user."""
    family = server.grants.family(claims["family"], server.clock.now()) if "family" in claims else None
    return family is not None and family.live


def _challenge(status: int, error: str) -> Response:
    reason = f', error="{error}"' if error else ""
    body = {"error": error or "invalid_request"}
    return JSONResponse(body, status, headers={"WWW-Authenticate": f'Bearer realm="deeplens"{reason}'})
