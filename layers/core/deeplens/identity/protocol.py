"""/connect/token, /revocation, /introspect and /userinfo: what programs call."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.security import HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials
from starlette.responses import JSONResponse, Response

from deeplens.identity.documents import FORMS, answers
from deeplens.identity.parts import IdentityParts, Parts
from deeplens.identity.requests import Form, protocol_request
from deeplens.identity.server import IdentityServer
from deeplens.identity.tokens import user_claims

router = APIRouter(prefix="/connect", tags=["protocol"])
bearer = HTTPBearer(auto_error=False, scheme_name="accessToken", description="An access token with scope openid.")


def server_of(parts: Parts) -> IdentityServer:
    return IdentityServer(parts)


Server = Annotated[IdentityServer, Depends(server_of)]


@router.post(
    "/token", summary="Get tokens", response_model=None, openapi_extra=FORMS["token"], responses=answers(200, 400, 401)
)
def token(request: Request, form: Form, server: Server) -> Response:
    """Grants: ``client_credentials``, ``authorization_code`` with ``code_verifier``, ``refresh_token``."""
    return server.token(protocol_request(request, form)).json()


@router.post(
    "/revocation", summary="Revoke a token", response_model=None, openapi_extra=FORMS["revocation"],
    responses=answers(200, 400, 401),
)  # fmt: skip
def revocation(request: Request, form: Form, server: Server) -> Response:
    """Ends the token's whole family; an unknown token is fine (RFC 7009)."""
    return server.endpoint("revocation", protocol_request(request, form)).json()


@router.post(
    "/introspect", summary="Ask about a token", response_model=None, openapi_extra=FORMS["introspect"],
    responses=answers(200, 400, 401),
)  # fmt: skip
def introspect(request: Request, form: Form, server: Server) -> Response:
    """``active`` and the claims, for clients with a secret (RFC 7662)."""
    return server.endpoint("introspection", protocol_request(request, form)).json()


@router.get("/userinfo", summary="Who the token is about", response_model=None, responses=answers(200, 401, 403))
def userinfo(parts: Parts, presented: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> Response:
    return _claims(parts, presented)


@router.post("/userinfo", summary="The same", response_model=None, responses=answers(200, 401, 403))
def post_userinfo(parts: Parts, presented: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> Response:
    return _claims(parts, presented)


def _claims(parts: IdentityParts, presented: HTTPAuthorizationCredentials | None) -> Response:
    claims = parts.own_tokens.claims_of(presented.credentials) if presented else None
    if claims is None or not _alive(parts, claims):
        return _challenge(401, "invalid_token" if presented else "")
    if "openid" not in claims["scope"].split():
        return _challenge(403, "insufficient_scope")
    user = parts.users.find(claims["sub"])
    return JSONResponse(user_claims(user, claims["scope"])) if user else _challenge(401, "invalid_token")


def _alive(parts: IdentityParts, claims: dict[str, Any]) -> bool:
    """A user's token ends with its family."""
    family = parts.grants.family(claims["family"], parts.clock.now()) if "family" in claims else None
    return family is not None and family.live


def _challenge(status: int, error: str) -> Response:
    reason = f', error="{error}"' if error else ""
    body = {"error": error or "invalid_request"}
    return JSONResponse(body, status, headers={"WWW-Authenticate": f'Bearer realm="deeplens"{reason}'})
