"""Authlib's authorization server, put together."""

from typing import Any

from authlib.oauth2.rfc6749 import AuthorizationServer, InvalidRequestError

from deeplens.access.scopes import SCOPES
from deeplens.identity.client import Client
from deeplens.identity.endpoints import Introspection, Revocation, SignOut
from deeplens.identity.grants import AuthorizationCodes, ClientCredentials, Pkce, RefreshTokens
from deeplens.identity.parts import IdentityParts
from deeplens.identity.requests import Answer, ProtocolRequest, check_parameters
from deeplens.identity.tokens import AccessTokens, IdTokens, IdTokensOfCodes


class IdentityServer(AuthorizationServer):  # type: ignore[misc]
    """The protocol's endpoints over the parts; keeps nothing of a request."""

    def __init__(self, parts: IdentityParts) -> None:
        super().__init__(SCOPES)
        self.parts = parts
        issuer, keys = parts.settings.identity_url, parts.signing_keys
        self.register_token_generator("default", AccessTokens(issuer, keys))
        self.register_grant(AuthorizationCodes, [Pkce(required=True), IdTokensOfCodes(issuer, keys)])
        self.register_grant(RefreshTokens, [IdTokens(issuer, keys)])
        self.register_grant(ClientCredentials)
        for endpoint in (Revocation, Introspection, SignOut):
            self.register_endpoint(endpoint)

    def token(self, request: ProtocolRequest) -> Answer:
        """Answer a token request."""
        return self._checked(request) or self.create_token_response(request)

    def endpoint(self, name: str, request: ProtocolRequest) -> Answer:
        """Answer a revocation or introspection request."""
        return self._checked(request) or self.create_endpoint_response(name, request)

    def query_client(self, client_id: str) -> Client | None:
        return self.parts.clients.find(client_id)

    def create_oauth2_request(self, request: ProtocolRequest) -> ProtocolRequest:
        return request

    def handle_response(self, status: int, body: Any, headers: list[tuple[str, str]]) -> Answer:
        return Answer(status, body, headers)

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""

    def _checked(self, request: ProtocolRequest) -> Answer | None:
        try:
            check_parameters(request)
        except InvalidRequestError as error:
            return Answer(*error())
        return None
