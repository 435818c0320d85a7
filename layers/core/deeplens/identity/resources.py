"""Resource indicators (RFC 8707): a client names the APIs that a token is for, and the others refuse it."""

from collections.abc import Iterable

from authlib.oauth2.rfc6749 import OAuth2Error

from deeplens.access.audiences import resources_of
from deeplens.identity.requests import RESOURCE, ProtocolRequest


class InvalidTargetError(OAuth2Error):  # type: ignore[misc]
    error = "invalid_target"


def requested_resources(request: ProtocolRequest, issuer: str) -> tuple[str, ...]:
    """The resources that a request names, each once. Raises ``InvalidTargetError`` for one that does not exist."""
    known, requested = resources_of(issuer), request.payload.datalist.get(RESOURCE, [])
    if set(requested) - set(known):
        raise InvalidTargetError(f"A resource is not known here. Known are {' and '.join(known)}.")
    return tuple(resource for resource in known if resource in requested)


def narrowed(granted: Iterable[str], requested: tuple[str, ...]) -> tuple[str, ...]:
    """The requested ones of the granted resources; none granted means all. Raises ``InvalidTargetError`` for more."""
    granted = tuple(granted)
    if granted and not set(requested) <= set(granted):
        raise InvalidTargetError("The grant does not cover this resource. Request it at the authorization endpoint.")
    return requested or granted
