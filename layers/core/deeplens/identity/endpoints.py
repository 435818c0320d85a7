"""Revocation (RFC 7009), introspection (RFC 7662) and sign-out (RP-Initiated Logout)."""

from dataclasses import dataclass
from typing import Any

import jwt
from authlib.oauth2.rfc6749 import InvalidRequestError, UnsupportedTokenTypeError
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from authlib.oidc.rpinitiated import EndSessionEndpoint, EndSessionRequest
from joserfc.jwk import KeySet

from deeplens.access.bearer import TOKEN_TYPE
from deeplens.access.scopes import ADMIN
from deeplens.identity.model import CONFIDENTIAL_METHODS, Client, Family
from deeplens.identity.requests import ProtocolRequest


@dataclass(frozen=True, slots=True)
class Presented:
    """A token of this platform that a client presents.

    Attributes
    ----------
    claims : of an access token; empty for a refresh token.
    family : None for a client's own token, and for a token whose family was deleted.
    """

    client_id: str
    live: bool
    family: Family | None
    claims: dict[str, Any]

    def check_client(self, client: Client) -> bool:
        return self.client_id == client.id

    def is_expired(self) -> bool:
        return not self.live

    def is_revoked(self) -> bool:
        return self.family is not None and not self.family.live


def query_token(endpoint: Any, token_string: str, token_type_hint: str | None) -> Presented | None:  # noqa: ARG001
    """The token with this text, or None when this platform did not issue it: a method of both endpoints."""
    grants, now = endpoint.server.grants, endpoint.server.clock.now()
    if (claims := endpoint.server.tokens.claims_of(token_string)) is not None:
        family = grants.family(claims["family"], now) if "family" in claims else None
        live = "family" not in claims or family is not None
        return Presented(claims["client_id"], live, family, claims)
    family, spent_at = grants.family_of_token(token_string, now) or (None, None)
    return Presented(family.client_id, spent_at is None, family, {}) if family else None


class Revocation(RevocationEndpoint):  # type: ignore[misc]
    """Revokes a token's whole family. A client's own access token cannot be revoked, and the answer says so."""

    CLIENT_AUTH_METHODS = (*CONFIDENTIAL_METHODS, "none")
    query_token = query_token

    def revoke_token(self, token: Presented, request: ProtocolRequest) -> None:  # noqa: ARG002
        if token.family is None:
            raise UnsupportedTokenTypeError()
        self.server.grants.revoke(token.family.id, self.server.clock.now())


class Introspection(IntrospectionEndpoint):  # type: ignore[misc]
    """Describes a client's own tokens and its tenant's tokens; the platform's administrators may read all."""

    CLIENT_AUTH_METHODS = CONFIDENTIAL_METHODS
    query_token = query_token

    def check_permission(self, token: Presented, client: Client, request: ProtocolRequest) -> bool:  # noqa: ARG002
        if token.check_client(client) or (client.tenant_id is None and ADMIN in client.scopes):
            return True
        return client.tenant_id is not None and token.claims.get("tenant_id") == client.tenant_id

    def introspect_token(self, token: Presented) -> dict[str, Any]:
        if token.claims:
            return {"active": True, "token_type": "Bearer", **token.claims}
        family = token.family
        assert family is not None
        return {
            "active": True,
            "token_type": "refresh_token",
            "client_id": family.client_id,
            "sub": family.user_id,
            "scope": " ".join(family.scopes),
            "exp": int(family.expires_at.timestamp()),
        }


class EndSession(EndSessionEndpoint):  # type: ignore[misc]
    """Validates requests to sign out; the page ends the session."""

    def get_server_jwks(self) -> KeySet:
        return KeySet.import_key_set(self.server.signing_keys.jwks())

    def get_algorithms(self) -> list[str]:
        return ["RS256"]

    def _validate_id_token_hint(self, id_token_hint: str) -> dict[str, Any]:
        """Reject access tokens too: Authlib verifies the signature only, which they share."""
        claims: dict[str, Any] = super()._validate_id_token_hint(id_token_hint)
        if jwt.get_unverified_header(id_token_hint).get("typ") == TOKEN_TYPE:
            raise InvalidRequestError("The id_token_hint is not an ID token.")
        return claims

    def end_session(self, end_session_request: EndSessionRequest) -> None:
        """No-op: the page removes the cookie."""
