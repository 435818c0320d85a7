"""Verification of access tokens: RFC 9068 JWTs of this platform, checked without a call."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NewType

import jwt

from deeplens.access.audiences import API_AUDIENCE
from deeplens.access.model import Principal, SignedIn

TOKEN_TYPE = "at+jwt"  # noqa: S105 - a media type
ALGORITHM = "RS256"
LEEWAY_SECONDS = 30
REQUIRED = ["iss", "aud", "exp", "nbf", "iat", "sub", "client_id", "scope"]
MAX_TOKEN_CHARS = 8192
OPERATOR = "operator"
"""The claim of a token of the platform itself; all others have ``tenant_id``."""
CACHE_SECONDS = 10.0
MAX_CACHED_CLIENTS = 1000


class KeySet:
    """Public keys by id, read again for an unknown id, though not more often than every ``pause_seconds``.

    Parameters
    ----------
    read : returns a JSON Web Key Set.
    keep_seconds : age at which the set is read again anyway; so long a revoked key is still believed.
    """

    def __init__(
        self,
        read: Callable[[], Mapping[str, Any]],
        monotonic: Callable[[], float] = time.monotonic,
        keep_seconds: float = CACHE_SECONDS,
        pause_seconds: float = 1,
    ) -> None:
        self._read, self._monotonic, self._keep, self._pause = read, monotonic, keep_seconds, pause_seconds
        self._keys: dict[str, jwt.PyJWK] = {}
        self._read_at = float("-inf")

    def get(self, kid: str) -> jwt.PyJWK | None:
        age = self._monotonic() - self._read_at
        if age >= self._keep or (kid not in self._keys and age >= self._pause):
            self._keys = {key["kid"]: jwt.PyJWK(key, ALGORITHM) for key in self._read()["keys"]}
            self._read_at = self._monotonic()
        return self._keys.get(kid)


class BearerTokens:
    """Verify access tokens: signature, type, issuer, audience and times; the algorithm is pinned.

    Parameters
    ----------
    issuer : base URL of the identity API.
    is_active : whether a client may still act; its tokens end with it. True is believed for ``CACHE_SECONDS``.
    audience : the token must be meant for one of these.
    """

    def __init__(
        self,
        keys: KeySet,
        issuer: str,
        is_active: Callable[[str], bool],
        audience: tuple[str, ...] = (API_AUDIENCE,),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys, self._issuer, self._is_active, self._audience = keys, issuer, is_active, audience
        self._monotonic, self._active_until = monotonic, dict[str, float]()

    def authenticate(self, presented: str, api: str) -> Principal | None:
        claims = self.claims_of(presented, f"{self._issuer}{api}")
        # An operator's token says so: a token whose claim of a tenant got lost must not reach all of them.
        if claims is None or ("tenant_id" in claims) == (claims.get(OPERATOR) is True):
            return None
        return Principal(
            tenant_id=None if claims.get(OPERATOR) else str(claims["tenant_id"]),
            subject=claims["sub"],
            scopes=frozenset(str(claims["scope"]).split()),
            roles=frozenset(claims.get("roles", ())),
            client_id=claims["client_id"],
            signed_in=_signed_in(claims),
        )

    def claims_of(self, presented: str, *resources: str) -> dict[str, Any] | None:
        """The claims of a valid token of an active client, else None; one that is for ``resources`` alone is valid."""
        try:
            claims = self._verified(presented, [*self._audience, *resources])
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            return None
        return claims if claims and self._client_is_active(str(claims["client_id"])) else None

    def _client_is_active(self, client_id: str) -> bool:
        now = self._monotonic()
        if self._active_until.get(client_id, now) > now:
            return True
        if not self._is_active(client_id):
            return False
        if len(self._active_until) >= MAX_CACHED_CLIENTS:
            self._active_until.clear()
        self._active_until[client_id] = now + CACHE_SECONDS
        return True

    def _verified(self, presented: str, audience: list[str]) -> dict[str, Any] | None:
        if len(presented) > MAX_TOKEN_CHARS:
            return None
        header = jwt.get_unverified_header(presented)
        if header.get("alg") != ALGORITHM or header.get("typ") != TOKEN_TYPE or "crit" in header:
            return None
        key = self._keys.get(str(header.get("kid")))
        if key is None:
            return None
        return jwt.decode(
            presented,
            key,
            algorithms=[ALGORITHM],
            issuer=self._issuer,
            audience=audience,
            leeway=LEEWAY_SECONDS,
            options={"require": REQUIRED, "strict_aud": False},
        )


def _signed_in(claims: Mapping[str, Any]) -> SignedIn | None:
    """How the person signed in; in the weakest way, and long ago, if the token of an older release does not say."""
    if "family" not in claims:
        return None
    return SignedIn(datetime.fromtimestamp(int(claims.get("auth_time", 0)), UTC), str(claims.get("acr", "")))


IdentityTokens = NewType("IdentityTokens", BearerTokens)
"""Tokens for the Identity API itself: any access token that it issued."""
