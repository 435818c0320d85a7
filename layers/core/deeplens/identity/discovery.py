"""What clients read before anything else: OpenID Connect Discovery 1.0 and the key set."""

from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse

from deeplens.access.audiences import resources_of
from deeplens.access.scopes import SCOPES
from deeplens.http.dependencies import Injected
from deeplens.identity.client_keys.model import ALGORITHMS
from deeplens.identity.languages import LANGUAGES
from deeplens.identity.model import CONFIDENTIAL_METHODS, ONE_FACTOR_ACR, TWO_FACTOR_ACR, Issuer
from deeplens.identity.signing_keys import SigningKeys

ENDPOINTS = ("token", "revocation", "introspection")
router = APIRouter(prefix="/.well-known", tags=["discovery"])
KEYS_CACHE_CONTROL = "public, max-age=60"
"""A minute, after which caches know that a key was revoked; a new key is published two hours before it signs."""


@router.get("/openid-configuration", summary="Endpoints and what they support")
@router.get("/oauth-authorization-server", name="authorization_server", summary="The same, as RFC 8414 names it")
def configuration(issuer: Injected[Issuer]) -> dict[str, Any]:
    return {
        "issuer": issuer,
        "jwks_uri": f"{issuer}/.well-known/openid-configuration/jwks",
        "authorization_endpoint": f"{issuer}/connect/authorize",
        "token_endpoint": f"{issuer}/connect/token",
        "userinfo_endpoint": f"{issuer}/connect/userinfo",
        "revocation_endpoint": f"{issuer}/connect/revocation",
        "introspection_endpoint": f"{issuer}/connect/introspect",
        "end_session_endpoint": f"{issuer}/connect/endsession",
        "scopes_supported": list(SCOPES),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "client_credentials", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": [*CONFIDENTIAL_METHODS, "none"],
        "revocation_endpoint_auth_methods_supported": [*CONFIDENTIAL_METHODS, "none"],
        "introspection_endpoint_auth_methods_supported": list(CONFIDENTIAL_METHODS),
        **{f"{endpoint}_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS) for endpoint in ENDPOINTS},
        "prompt_values_supported": ["none", "login", "consent"],
        "acr_values_supported": [ONE_FACTOR_ACR, TWO_FACTOR_ACR],
        "claims_supported": [
            *("sub", "name", "preferred_username", "roles", "tenant_id"),
            *("auth_time", "acr", "amr", "sid"),
        ],
        "ui_locales_supported": list(LANGUAGES),
        "protected_resources": list(resources_of(issuer)),
        "authorization_response_iss_parameter_supported": True,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
    }


@router.get("/openid-configuration/jwks", summary="Keys that tokens are signed with", response_model=None)
def jwks(signing_keys: Injected[SigningKeys]) -> JSONResponse:
    return JSONResponse(signing_keys.jwks(), headers={"Cache-Control": KEYS_CACHE_CONTROL})
