"""Authlib's authorization server, put together."""

from typing import Any

from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc6749 import AuthorizationServer, OAuth2Error
from starlette.responses import JSONResponse, RedirectResponse, Response

from deeplens.access.bearer import IdentityTokens
from deeplens.access.scopes import SCOPES
from deeplens.common.ports import Clock
from deeplens.identity.client_keys.authenticate import PrivateKeyJwt
from deeplens.identity.endpoints import EndSession, Introspection, Revocation
from deeplens.identity.grants import AuthorizationCodes, ClientCredentials, Pkce, RefreshTokens
from deeplens.identity.model import PRIVATE_KEY_METHOD, Client, Issuer
from deeplens.identity.ports import Clients, Grants, Users
from deeplens.identity.requests import ProtocolRequest, check_parameters
from deeplens.identity.resources import requested_resources
from deeplens.identity.second_factors.policy import SecondFactorPolicy
from deeplens.identity.signing_keys import DerivationKey, SigningKeys
from deeplens.identity.tokens import IdTokens, IdTokensOfCodes
from deeplens.telemetry.security import security_event


class IdentityServer(AuthorizationServer):  # type: ignore[misc]
    """Runs the protocol's endpoints; grants and endpoints reach the ports through it. Keeps nothing of a request."""

    def __init__(
        self,
        clients: Clients,
        users: Users,
        grants: Grants,
        signing_keys: SigningKeys,
        derivation_key: DerivationKey,
        tokens: IdentityTokens,
        policy: SecondFactorPolicy,
        issuer: Issuer,
        clock: Clock,
        private_key_jwt: PrivateKeyJwt,
    ) -> None:
        super().__init__(SCOPES)
        self.clients, self.users, self.grants, self.signing_keys = clients, users, grants, signing_keys
        self.derivation_key, self.tokens, self.issuer, self.clock = derivation_key, tokens, issuer, clock
        self.policy = policy
        self.register_client_auth_method(PRIVATE_KEY_METHOD, private_key_jwt)
        self.register_grant(AuthorizationCodes, [Pkce(required=True), IdTokensOfCodes(issuer, signing_keys)])
        self.register_grant(RefreshTokens, [IdTokens(issuer, signing_keys)])
        self.register_grant(ClientCredentials)
        for endpoint in (Revocation, Introspection, EndSession):
            self.register_endpoint(endpoint)

    def answer(self, endpoint: str, request: ProtocolRequest) -> Response:
        """Answer a request of a program; ``endpoint`` is token, revocation or introspection."""
        try:
            check_parameters(request)
            requested_resources(request, self.issuer)
        except OAuth2Error as error:
            return self.handle_error_response(request, error)  # type: ignore[no-any-return]
        if endpoint == "token":
            return self.create_token_response(request)  # type: ignore[no-any-return]
        return self.create_endpoint_response(endpoint, request)  # type: ignore[no-any-return]

    def query_client(self, client_id: str) -> Client | None:
        return self.clients.find(client_id)

    def create_oauth2_request(self, request: ProtocolRequest) -> ProtocolRequest:
        return request

    def handle_response(self, status: int, body: Any, headers: list[tuple[str, str]]) -> Response:
        """Translate an answer of Authlib. A redirection to a client gets the issuer (RFC 9207)."""
        if isinstance(body, dict) and body.get("error") == "invalid_client":
            security_event("client_rejected")
        sent = {name: value for name, value in headers if name.lower() != "content-type"}
        if location := sent.get("Location"):
            return RedirectResponse(add_params_to_uri(location, [("iss", self.issuer)]), 303)
        return JSONResponse(dict(body or {}), status, headers=sent)

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """No-op: nothing listens to Authlib's signals."""
