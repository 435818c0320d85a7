"""Talk to a tenant's provider as its client: discovery, the code's exchange, and the verification of the ID token."""

import base64
import hashlib
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from deeplens.common.resolve import Lazy
from deeplens.identity.federation.credentials import ProviderSecrets
from deeplens.identity.federation.documents import CachedDocuments
from deeplens.identity.federation.model import (
    ALGORITHMS,
    CALLBACK_PATH,
    DISCOVERY_PATH,
    FederationRefused,
    IdentityProvider,
    ProviderFault,
    ProviderMetadata,
    derived,
    metadata_of,
)
from deeplens.identity.federation.ports import ProviderEndpoint
from deeplens.identity.model import Issuer

MAX_TOKEN_CHARS = 32 * 1024
LEEWAY_SECONDS = 60
ASYMMETRIC = ("RSA", "EC", "OKP")


class ProviderClient:
    """DeepLens as a client of tenants' providers. Raises ``ProviderFault``."""

    def __init__(
        self,
        endpoint: Lazy[ProviderEndpoint],
        documents: CachedDocuments,
        secrets: ProviderSecrets,
        issuer: Issuer,
    ) -> None:
        self._endpoint, self._documents, self._secrets, self._issuer = endpoint, documents, secrets, issuer

    def metadata(self, issuer: str) -> ProviderMetadata:
        return metadata_of(self._documents.get(f"{issuer}{DISCOVERY_PATH}"), issuer)

    def authorization_url(self, provider: IdentityProvider, state: str, browser_secret: str, login_hint: str) -> str:
        metadata, verifier = self.metadata(provider.issuer), derived(browser_secret, "verifier")
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        parameters = {
            "response_type": "code",
            "client_id": provider.client_id,
            "redirect_uri": f"{self._issuer}{CALLBACK_PATH}",
            "scope": metadata.scope,
            "state": state,
            "nonce": derived(browser_secret, "nonce"),
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        parameters |= {"login_hint": login_hint} if login_hint else {}
        endpoint = metadata.authorization_endpoint
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(parameters)}"

    def claims(self, provider: IdentityProvider, answer: Mapping[str, str], browser_secret: str) -> dict[str, Any]:
        """The verified claims of the ID token that the answer's code leads to. Raises ``FederationRefused``."""
        metadata = self.metadata(provider.issuer)
        sent = answer.get("iss")
        if (sent is None and metadata.sends_issuer) or sent not in (None, provider.issuer):
            raise FederationRefused("wrong_issuer")
        if "code" not in answer:
            raise FederationRefused("no_code")
        token = self._redeem(provider, metadata, answer["code"], browser_secret)
        claims = self._verified(token, metadata)
        _check_claims(claims, provider, derived(browser_secret, "nonce"))
        return claims

    def _redeem(self, provider: IdentityProvider, metadata: ProviderMetadata, code: str, browser_secret: str) -> str:
        secret = self._secrets.read(provider.tenant_id)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": f"{self._issuer}{CALLBACK_PATH}",
            "code_verifier": derived(browser_secret, "verifier"),
        }
        headers = {}
        if metadata.posts_secret:
            form |= {"client_id": provider.client_id, "client_secret": secret}
        else:
            credentials = f"{quote(provider.client_id, safe='')}:{quote(secret, safe='')}"
            headers["authorization"] = f"Basic {base64.b64encode(credentials.encode()).decode()}"
        answer = self._endpoint().post(metadata.token_endpoint, form, headers)
        token = answer.get("id_token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or len(token) > MAX_TOKEN_CHARS:
            raise FederationRefused("no_id_token")
        return token

    def _verified(self, token: str, metadata: ProviderMetadata) -> dict[str, Any]:
        """The claims of a token that a key of the provider has signed; the algorithm is pinned."""
        for refresh in (False, True):
            try:
                keys = _asymmetric(self._documents.get(metadata.jwks_uri, refresh))
                return dict(jwt.decode(token, keys, algorithms=list(ALGORITHMS)).claims)
            except (JoseError, ValueError, TypeError, KeyError):
                continue
        raise FederationRefused("bad_signature")


def _asymmetric(document: Any) -> KeySet:
    """The public keys of a set: a shared secret in it must not verify anything."""
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ProviderFault("The provider's key set is not valid.")
    return KeySet.import_key_set({"keys": [key for key in document["keys"] if key.get("kty") in ASYMMETRIC]})


def _check_claims(claims: Mapping[str, Any], provider: IdentityProvider, nonce: str) -> None:
    """OpenID Connect Core, 3.1.3.7. Raises ``FederationRefused``."""
    if claims.get("iss") != provider.issuer:
        raise FederationRefused("wrong_issuer")
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or provider.client_id not in audiences:
        raise FederationRefused("wrong_audience")
    if claims.get("azp", provider.client_id if len(audiences) == 1 else None) != provider.client_id:
        raise FederationRefused("wrong_party")
    if claims.get("nonce") != nonce:
        raise FederationRefused("wrong_nonce")
    now, times = time.time(), (claims.get("iat"), claims.get("exp"))
    if not all(isinstance(at, int | float) for at in times):
        raise FederationRefused("no_times")
    if times[0] > now + LEEWAY_SECONDS or times[1] <= now - LEEWAY_SECONDS:  # type: ignore[operator]
        raise FederationRefused("expired")
