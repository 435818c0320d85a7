"""The three grants, on codes and token families that work once."""

import re
import secrets
from typing import Any

from authlib.oauth2.rfc6749 import InvalidGrantError, InvalidRequestError, InvalidScopeError, grants
from authlib.oauth2.rfc7636 import CodeChallenge

from deeplens.access.scopes import API_SCOPES, allowed
from deeplens.identity.model import CONFIDENTIAL_METHODS, REUSE_WINDOW, Client, Code, Family, Session
from deeplens.identity.requests import ProtocolRequest
from deeplens.identity.resources import narrowed, requested_resources
from deeplens.identity.tokens import AccessTokens, Subject
from deeplens.telemetry.security import security_event

CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


class Pkce(CodeChallenge):  # type: ignore[misc]
    """Requires PKCE with S256 of every client."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        sent = grant.request.payload.data
        if sent.get("code_challenge_method") != "S256" or not CHALLENGE.fullmatch(sent.get("code_challenge", "")):
            raise InvalidRequestError("PKCE is required: send code_challenge and code_challenge_method=S256.")
        super().validate_code_challenge(grant, redirect_uri)


class NarrowedTokens:
    """A grant whose access tokens are for the resources that were granted and requested."""

    def granted_resources(self) -> tuple[str, ...]:
        return ()

    def generate_token(
        self, user: Any = None, scope: Any = None, *, include_refresh_token: bool = True, **_: Any
    ) -> dict[str, Any]:
        """Issue tokens. Raises ``InvalidTargetError``."""
        grant: Any = self
        server, request = grant.server, grant.request
        resources = narrowed(self.granted_resources(), requested_resources(request, server.issuer))
        tokens = AccessTokens(server.issuer, server.signing_keys, resources)
        options = {"user": user, "scope": scope, "include_refresh_token": include_refresh_token}
        return tokens(grant_type=grant.GRANT_TYPE, client=request.client, **options)  # type: ignore[no-any-return]


class AuthorizationCodes(NarrowedTokens, grants.AuthorizationCodeGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = (*CONFIDENTIAL_METHODS, "none")

    def generate_authorization_code(self) -> str:
        return secrets.token_urlsafe(32)

    def save_authorization_code(self, code: str, request: ProtocolRequest) -> None:
        session: Session = request.user
        asked = request.payload.data
        content = Code(
            family=secrets.token_urlsafe(16),
            client_id=request.client.id,
            user_id=session.user.id,
            session_id=session.id,
            redirect_uri=asked["redirect_uri"],
            scopes=tuple(allowed(session.user.roles, request.scope.split())),
            nonce=asked.get("nonce"),
            code_challenge=asked["code_challenge"],
            authenticated_at=session.authenticated_at,
            methods=session.methods,
            resources=requested_resources(request, self.server.issuer),
        )
        self.server.grants.issue_code(code, content, self.server.clock.now())

    def query_authorization_code(self, code: str, client: Client) -> Code | None:
        return self.server.grants.redeem_code(code, client.id, self.server.clock.now())  # type: ignore[no-any-return]

    def delete_authorization_code(self, code: Code) -> None:
        """No-op: the code was used up when it was redeemed, and its row detects a replay."""

    def authenticate_user(self, code: Code) -> Subject | None:
        user = self.server.users.find(code.user_id)
        # The user or the client may belong to another tenant than when the code was issued.
        admitted = user is not None and self.request.client.admits(user)
        return Subject.of(user, code.family, code) if user and admitted else None

    def granted_resources(self) -> tuple[str, ...]:
        return self.request.authorization_code.resources  # type: ignore[no-any-return]

    def generate_token(self, user: Any = None, scope: Any = None, **options: Any) -> dict[str, Any]:
        """Issue tokens; a refresh token only with ``offline_access``."""
        offline = options.pop("include_refresh_token", False) and "offline_access" in scope.split()
        return super().generate_token(user, scope, include_refresh_token=offline)

    def save_token(self, token: dict[str, Any]) -> None:
        family = self.request.authorization_code.family
        if "refresh_token" in token and not self.server.grants.begin(token["refresh_token"], family):
            raise InvalidGrantError("The code was used twice.")


class RefreshTokens(NarrowedTokens, grants.RefreshTokenGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = (*CONFIDENTIAL_METHODS, "none")

    def authenticate_refresh_token(self, refresh_token: str) -> Family | None:
        """The live family of a token of this client; the reuse of a token after its window revokes the family."""
        now = self.server.clock.now()
        family, spent_at = self.server.grants.family_of_token(refresh_token, now) or (None, None)
        if family is None or family.client_id != self.request.client.id:
            return None
        if spent_at is not None and spent_at + REUSE_WINDOW <= now:
            self._end_replayed(family)
            return None
        return family if family.live else None

    def authenticate_user(self, family: Family) -> Subject | None:
        user = self.server.users.find(family.user_id)
        if user is None:
            raise InvalidGrantError("The user can no longer sign in.")
        if not self.request.client.admits(user):
            self.server.grants.revoke(family.id, self.server.clock.now())
            raise InvalidGrantError("The client belongs to another tenant than the user.")
        if self.server.policy.next_step(user, family.methods) is not None:
            self.server.grants.revoke(family.id, self.server.clock.now())
            raise InvalidGrantError("The user has to sign in again, with a second factor.")
        return Subject.of(user, family.id, family)

    def granted_resources(self) -> tuple[str, ...]:
        return self.request.refresh_token.resources  # type: ignore[no-any-return]

    def issue_token(self, user: Subject, family: Family) -> dict[str, Any]:
        """Issue tokens without the scopes that the user or the client has lost since."""
        asked = self.request.payload.scope or family.get_scope()
        scope = " ".join(allowed(user.user.roles, set(asked.split()) & set(self.request.client.scopes)))
        if not scope:
            raise InvalidScopeError()
        token = self.generate_token(user, scope, include_refresh_token=False)
        successor = self.server.derivation_key.derive("refresh-token", self.request.form["refresh_token"])
        return {**token, "refresh_token": successor}

    def save_token(self, token: dict[str, Any]) -> None:
        spent, now = self.request.form["refresh_token"], self.server.clock.now()
        if not self.server.grants.rotate(spent, token["refresh_token"], now):
            self._end_replayed(self.request.refresh_token)
            raise InvalidGrantError("The refresh token was used twice.")

    def _end_replayed(self, family: Family) -> None:
        security_event("refresh_token_replayed", user_id=family.user_id, client_id=family.client_id, family=family.id)
        self.server.grants.revoke(family.id, self.server.clock.now())

    def revoke_old_credential(self, family: Family) -> None:
        """No-op: ``save_token`` used it up in the statement that stored its successor."""


class ClientCredentials(NarrowedTokens, grants.ClientCredentialsGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = CONFIDENTIAL_METHODS

    def validate_requested_scope(self) -> None:
        """Allow API scopes only, as no user is signed in."""
        if set((self.request.payload.scope or "").split()) - set(API_SCOPES):
            raise InvalidScopeError()

    def save_token(self, token: dict[str, Any]) -> None:
        """No-op: the token is self-contained."""
