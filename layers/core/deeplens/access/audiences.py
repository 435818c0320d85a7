"""What access tokens are for: all APIs, or those that a client named as resources (RFC 8707)."""

API_AUDIENCE = "deeplens.api"
"""The audience of a token for all APIs."""
SEARCH_API, ADMIN_API = "/v1", "/v1/admin"
"""Paths below the issuer; issuer and path are the resource, and the audience of a token that is for it alone."""


def api_of(path: str) -> str:
    """The API that answers at a path."""
    return ADMIN_API if path == ADMIN_API or path.startswith(f"{ADMIN_API}/") else SEARCH_API


def resources_of(issuer: str) -> tuple[str, ...]:
    return tuple(f"{issuer}{api}" for api in (SEARCH_API, ADMIN_API))
