"""Authentication of clients by an assertion that their private key has signed."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from authlib.oauth2.rfc6749 import InvalidClientError
from authlib.oauth2.rfc7523.client import ASSERTION_TYPE
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import import_key
from pydantic_core import from_json

from deeplens.common.ports import Clock
from deeplens.identity.client_keys.model import ALGORITHMS, LEEWAY, MAX_ASSERTION_LIFE, ClientKeys, fault_of_keys
from deeplens.identity.client_keys.ports import ClientKeyStore
from deeplens.identity.federation.documents import CachedDocuments
from deeplens.identity.federation.model import ProviderFault
from deeplens.identity.model import Client, Issuer
from deeplens.identity.requests import ProtocolRequest

MAX_JTI_CHARS = 256


class PrivateKeyJwt:
    """The method ``private_key_jwt`` as Authlib calls it."""

    def __init__(self, keys: ClientKeyStore, documents: CachedDocuments, issuer: Issuer, clock: Clock) -> None:
        self._keys, self._documents, self._issuer, self._clock = keys, documents, issuer, clock

    def __call__(self, query_client: Callable[[str], Client | None], request: ProtocolRequest) -> Client | None:
        """The client that signed the request's assertion; None without one. Raises ``InvalidClientError``."""
        assertion = request.form.get("client_assertion")
        if not assertion or request.form.get("client_assertion_type") != ASSERTION_TYPE:
            return None
        client_id = _claimed_client(assertion)
        client, keys = query_client(client_id), self._keys.find(client_id)
        if client is None or keys is None or request.form.get("client_id", client_id) != client_id:
            raise InvalidClientError(description="The client is not known, or has no key.")
        self._check(self._verified(assertion, keys), client_id)
        return client

    def _verified(self, assertion: str, keys: ClientKeys) -> Mapping[str, Any]:
        """The claims of an assertion that one of the client's keys has signed; the algorithm is pinned."""
        for refresh in (False, True) if keys.jwks_uri else (False,):
            for key in _candidates(assertion, self._key_set(keys, refresh)):
                with suppress(JoseError, ValueError, TypeError, KeyError):
                    return dict(jwt.decode(assertion, import_key(key), algorithms=list(ALGORITHMS)).claims)
        raise InvalidClientError(description="None of the client's keys has signed the assertion.")

    def _key_set(self, keys: ClientKeys, refresh: bool) -> Mapping[str, Any]:
        if keys.jwks_uri is None:
            return keys.jwks or {}
        try:
            document = self._documents.get(keys.jwks_uri, refresh)
        except ProviderFault as fault:
            raise InvalidClientError(description="The client's key set is not available.") from fault
        fault_text = fault_of_keys(document) if isinstance(document, dict) else "not JSON"
        if fault_text:
            raise InvalidClientError(description="The client's key set is not accepted.")
        return document  # type: ignore[no-any-return]

    def _check(self, claims: Mapping[str, Any], client_id: str) -> None:
        """RFC 7523, section 3: whose it is, for whom, how long, and that it is used once."""
        if (claims.get("iss"), claims.get("sub")) != (client_id, client_id):
            raise InvalidClientError(description="iss and sub of the assertion must be the client's id.")
        audience = claims.get("aud")
        audiences = [audience] if isinstance(audience, str) else audience
        accepted = {self._issuer, f"{self._issuer}/connect/token"}
        if not isinstance(audiences, list) or not audiences or not accepted.issuperset(map(str, audiences)):
            raise InvalidClientError(description=f"aud of the assertion must be {self._issuer}.")
        now, expires_at = self._clock.now(), _time(claims, "exp")
        if not now - LEEWAY < expires_at <= now + MAX_ASSERTION_LIFE + LEEWAY:
            raise InvalidClientError(description="exp of the assertion must be at most 5 minutes ahead.")
        if any(name in claims and _time(claims, name) > now + LEEWAY for name in ("iat", "nbf")):
            raise InvalidClientError(description="iat and nbf of the assertion must not be in the future.")
        jti = claims.get("jti")
        if not isinstance(jti, str) or not 0 < len(jti) <= MAX_JTI_CHARS:
            raise InvalidClientError(description="The assertion needs a jti.")
        if not self._keys.use(client_id, jti, now, expires_at + LEEWAY):
            raise InvalidClientError(description="The assertion was used before.")


def _candidates(assertion: str, jwks: Mapping[str, Any]) -> list[Any]:
    """The keys that the header may mean: those with its ``kid``, and those without one."""
    kid = jws.extract_compact(assertion.encode()).headers().get("kid")
    return [key for key in jwks.get("keys", []) if kid is None or key.get("kid", kid) == kid]


def _claimed_client(assertion: str) -> str:
    """The client that an assertion names; nothing is verified yet."""
    try:
        claims = from_json(jws.extract_compact(assertion.encode()).payload)
    except (JoseError, ValueError, TypeError, KeyError):
        claims = None
    subject = claims.get("sub") if isinstance(claims, dict) else None
    if not isinstance(subject, str):
        raise InvalidClientError(description="The assertion is not a JWT with a sub.")
    return subject


def _time(claims: Mapping[str, Any], name: str) -> datetime:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 33:
        raise InvalidClientError(description=f"{name} of the assertion is not a time.")
    return datetime.fromtimestamp(value, UTC)
