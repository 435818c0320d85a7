"""The content of access tokens (RFC 9068) and ID tokens, and the claims about a user."""

import secrets
import time
from datetime import datetime
from typing import Any, NamedTuple, Self

from authlib.oauth2.rfc6749 import OAuth2Request
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from authlib.oidc.core import UserInfo
from authlib.oidc.core.grants import OpenIDCode, OpenIDToken
from joserfc.jwk import KeySet, RSAKey

from deeplens.access.audiences import API_AUDIENCE
from deeplens.access.bearer import OPERATOR
from deeplens.access.scopes import API_SCOPES
from deeplens.identity.key_plan import LONGEST_TOKEN
from deeplens.identity.model import Client, Code, Family, User, acr_of
from deeplens.identity.signing_keys import SigningKeys

USER_TOKEN_SECONDS = 15 * 60
"""Short, as a user's access token cannot be revoked; the refresh token renews it."""
CLIENT_TOKEN_SECONDS = int(LONGEST_TOKEN.total_seconds())
ID_TOKEN_SECONDS = 15 * 60


class Subject(NamedTuple):
    """A user in the form that Authlib reads.

    Parameters
    ----------
    family : the token family; access tokens name it so that its revocation can be looked up.
    authenticated_at, methods : when and how the user signed in.
    """

    user: User
    family: str
    session_id: str
    authenticated_at: datetime
    methods: tuple[str, ...]

    @classmethod
    def of(cls, user: User, family: str, origin: Code | Family) -> Self:
        """The user of a code or of a token family."""
        return cls(user, family, origin.session_id, origin.authenticated_at, origin.methods)

    def get_user_id(self) -> str:
        return self.user.id


def private_keys(keys: SigningKeys) -> KeySet:
    """The key that signs now. A set, not the key: joserfc writes the key id into the header only for sets."""
    kid, pem = keys.signer()
    return KeySet([RSAKey.import_key(pem, {"kid": kid, "use": "sig", "alg": "RS256"})])


def user_claims(user: User, scope: str) -> UserInfo:
    """The claims about a user that the scopes allow."""
    claims = UserInfo(sub=user.id)
    if "profile" in scope.split():
        claims |= {"name": user.name, "preferred_username": user.email, "roles": list(user.roles)}
        claims |= {"tenant_id": user.tenant_id} if user.tenant_id else {}
    return claims


class AccessTokens(JWTBearerTokenGenerator):  # type: ignore[misc]
    """Creates access tokens, and a refresh token with ``offline_access``.

    Parameters
    ----------
    resources : the APIs that the tokens are for; none means all.
    """

    def __init__(self, issuer: str, keys: SigningKeys, resources: tuple[str, ...] = ()) -> None:
        super().__init__(issuer, "RS256", self._refresh_token, self._seconds)
        self._keys, self._resources = keys, resources

    def get_jwks(self) -> KeySet:
        return private_keys(self._keys)

    def get_audiences(self, client: Client, user: Subject | None, scope: str) -> list[str]:  # noqa: ARG002
        """The APIs if a scope allows calls to them, and this issuer if ``/userinfo`` may be called."""
        granted = set(scope.split())
        audiences = list(self._resources or (API_AUDIENCE,)) if granted & set(API_SCOPES) else []
        return [*audiences, self.issuer] if "openid" in granted or not audiences else audiences

    def get_auth_time(self, user: Subject | None) -> int | None:
        return int(user.authenticated_at.timestamp()) if user else None

    def get_acr(self, user: Subject | None) -> str | None:
        return acr_of(user.methods) if user else None

    def get_amr(self, user: Subject | None) -> list[str] | None:
        return list(user.methods) if user else None

    def get_extra_claims(
        self,
        client: Client,
        grant_type: str,  # noqa: ARG002 - Authlib's signature
        user: Subject | None,
        scope: str,  # noqa: ARG002
    ) -> dict[str, Any]:
        owner = user.user if user else client
        claims: dict[str, Any] = {"nbf": int(time.time())}
        claims |= {"tenant_id": owner.tenant_id} if owner.tenant_id else {OPERATOR: True}
        if user:
            claims |= {"roles": list(user.user.roles), "family": user.family, "sid": user.session_id}
        return claims

    def _refresh_token(self, client: Client, grant_type: str, user: Any, scope: str) -> str:  # noqa: ARG002
        return secrets.token_urlsafe(32)

    def _seconds(self, client: Client, grant_type: str) -> int:  # noqa: ARG002
        return CLIENT_TOKEN_SECONDS if grant_type == "client_credentials" else USER_TOKEN_SECONDS


class IdTokens(OpenIDToken):  # type: ignore[misc]
    """Adds an ID token to answers with the scope ``openid``."""

    def __init__(self, issuer: str, keys: SigningKeys) -> None:
        self._issuer, self._keys = issuer, keys

    def resolve_client_private_key(self, client: Client) -> KeySet:  # noqa: ARG002
        return private_keys(self._keys)

    def get_client_claims(self, client: Client) -> dict[str, Any]:
        now = int(time.time())
        return {"iss": self._issuer, "aud": client.id, "iat": now, "exp": now + ID_TOKEN_SECONDS}

    def get_compatible_claims(self, request: OAuth2Request) -> dict[str, Any]:
        claims: dict[str, Any] = super().get_compatible_claims(request)
        user: Subject = request.user
        signed_in = {"auth_time": int(user.authenticated_at.timestamp()), "acr": acr_of(user.methods)}
        return claims | signed_in | {"sid": user.session_id, "amr": list(user.methods)}

    def generate_user_info(self, user: Subject, scope: str) -> UserInfo:
        return user_claims(user.user, scope)


class IdTokensOfCodes(IdTokens, OpenIDCode):  # type: ignore[misc]
    """Adds an ID token with the nonce of the authorization request."""

    require_nonce = False

    def exists_nonce(self, nonce: str, request: OAuth2Request) -> bool:  # noqa: ARG002
        """False: the client compares the nonce, and a code works once, which already prevents a replay."""
        return False
