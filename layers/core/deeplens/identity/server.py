"""Authlib's authorization server, put together."""

from typing import Any

from authlib.oauth2.rfc6749 import AuthorizationServer, InvalidRequestError

from deeplens.access.bearer import IdentityTokens
from deeplens.access.scopes import SCOPES
from deeplens.common.ports import Clock
from deeplens.identity.client import Client
from deeplens.identity.endpoints import Introspection, Revocation, SignOut
from deeplens.identity.grants import AuthorizationCodes, ClientCredentials, Pkce, RefreshTokens
from deeplens.identity.model import Issuer
from deeplens.identity.ports import Clients, Grants, Users
from deeplens.identity.requests import Answer, ProtocolRequest, check_parameters
from deeplens.identity.signing_keys import SigningKeys
from deeplens.identity.tokens import AccessTokens, IdTokens, IdTokensOfCodes


class IdentityServer(AuthorizationServer):  # type: ignore[misc]
    """Runs the protocol's endpoints; grants and endpoints reach the ports through it. Keeps nothing of a request."""

    def __init__(
        self,
        clients: Clients,
        users: Users,
        grants: Grants,
        signing_keys: SigningKeys,
        tokens: IdentityTokens,
        issuer: Issuer,
        clock: Clock,
    ) -> None:
        super().__init__(SCOPES)
        self.clients, self.users, self.grants, self.signing_keys = clients, users, grants, signing_keys
        self.tokens, self.clock = tokens, clock
        self.register_token_generator("default", AccessTokens(issuer, signing_keys))
        self.register_grant(AuthorizationCodes, [Pkce(required=True), IdTokensOfCodes(issuer, signing_keys)])
        self.register_grant(RefreshTokens, [IdTokens(issuer, signing_keys)])
        self.register_grant(ClientCredentials)
        for endpoint in (Revocation, Introspection, SignOut):
            self.register_endpoint(endpoint)

    def token(self, request: ProtocolRequest) -> Answer:
        """Answer a token request."""
        return self._error(request) or self.create_token_response(request)

    def endpoint(self, name: str, request: ProtocolRequest) -> Answer:
        """Answer a revocation or introspection request."""
        return self._error(request) or self.create_endpoint_response(name, request)

    def query_client(self, client_id: str) -> Client | None:
        return self.clients.find(client_id)

    def create_oauth2_request(self, request: ProtocolRequest) -> ProtocolRequest:
        return request

    def handle_response(self, status: int, body: Any, headers: list[tuple[str, str]]) -> Answer:
        return Answer(status, body, headers)

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """No-op: nothing listens to Authlib's signals."""

    def _error(self, request: ProtocolRequest) -> Answer | None:
        try:
            check_parameters(request)
        except InvalidRequestError as error:
            return Answer(*error())
        return None
