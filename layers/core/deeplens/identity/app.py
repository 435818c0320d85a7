"""The Identity API as one ASGI application."""

from fastapi import Depends, FastAPI

from deeplens.common.resolve import Resolver
from deeplens.http import problems
from deeplens.http.application import health
from deeplens.http.middleware import BodyLimit, RequestContext
from deeplens.identity import account, authorize, discovery, protocol, swagger
from deeplens.identity.account_pages import SignInRequired, lead_to_sign_in
from deeplens.identity.development import refuse_development_credentials
from deeplens.identity.federation import pages as federation
from deeplens.identity.recovery import email_pages, strength
from deeplens.identity.recovery import pages as recovery
from deeplens.identity.second_factors import second_factor_pages, security_pages
from deeplens.identity.sessions import routes as own_access

DESCRIPTION = """OAuth 2.0 and OpenID Connect: client credentials, authorization code with PKCE, refresh tokens.

Clients read [`/.well-known/openid-configuration`](/.well-known/openid-configuration) and need nothing else."""
TAGS = [
    {"name": "discovery", "description": "What clients read first."},
    {"name": "protocol", "description": "What programs call; errors are OAuth's own (RFC 6749)."},
    {"name": "service", "description": "About the API itself."},
]
MAX_BODY_BYTES = 64 * 1024


def create_identity_app(container: Resolver) -> FastAPI:
    """Create the Identity API over ``container``, which builds each port when a request first needs it."""
    app = FastAPI(
        title="DeepLens Identity",
        version="1",
        description=DESCRIPTION,
        openapi_tags=TAGS,
        openapi_url="/connect/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(refuse_development_credentials)],
        form_limits={"max_files": 0, "max_fields": 50, "max_part_size": 16 * 1024},
    )
    app.state.container = container
    app.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES)
    app.add_middleware(RequestContext)
    problems.install(app)
    app.add_exception_handler(SignInRequired, lead_to_sign_in)
    pages = (account, second_factor_pages, security_pages, own_access, federation, recovery, email_pages, strength)
    for module in (discovery, protocol, authorize, *pages, swagger):
        app.include_router(module.router)
    app.add_api_route("/connect/health", health, methods=["GET"], tags=["service"], summary="Whether the API answers")
    return app
