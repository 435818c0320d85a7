"""A provider whose every answer a test may forge, and TXT records in a dictionary."""

import json
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from deeplens.identity.federation.model import ProviderFault
from jwt.algorithms import RSAAlgorithm

CLIENT_ID = "deeplens-at-acme"


class FakeTxtRecords:
    """``TxtRecords``: what a zone of DNS holds."""

    def __init__(self) -> None:
        self.records: dict[str, list[str]] = {}

    def lookup(self, name: str) -> list[str]:
        return self.records.get(name, [])


class FakeProvider:
    """``ProviderEndpoint`` of one issuer.

    Attributes
    ----------
    claims : those of the next ID token, over the good ones; None leaves a claim out.
    token : the next ID token as it is, instead of a signed one.
    nonce : of the authorization request that is being answered.
    """

    def __init__(self, issuer: str = "https://login.acme.test") -> None:
        self.issuer, self.claims, self.token, self.nonce = issuer, dict[str, Any](), "", ""
        self.key = _key_of(issuer)
        self.documents: dict[str, Any] = {
            f"{issuer}/.well-known/openid-configuration": {
                "issuer": issuer,
                "authorization_endpoint": f"{issuer}/authorize",
                "token_endpoint": f"{issuer}/token",
                "jwks_uri": f"{issuer}/jwks",
                "authorization_response_iss_parameter_supported": True,
            },
            f"{issuer}/jwks": {"keys": [self.jwk(self.key)]},
        }
        self.forms: list[Mapping[str, str]] = []

    @staticmethod
    def jwk(key: RSAPrivateKey) -> dict[str, Any]:
        return {**json.loads(RSAAlgorithm.to_jwk(key.public_key())), "kid": "first", "use": "sig"}

    def signed(self, key: Any = None, algorithm: str = "RS256") -> str:
        now = int(time.time())
        good = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": self.nonce,
            "sub": "person-1",
            "email": "ada@acme.test",
            "name": "Ada",
        }
        claims = {name: value for name, value in {**good, **self.claims}.items() if value is not None}
        return jwt.PyJWS().encode(json.dumps(claims).encode(), key or self.key, algorithm, {"kid": "first"})

    def get(self, url: str) -> Any:
        if url not in self.documents:
            raise ProviderFault(f"{url} does not answer.")
        return self.documents[url]

    def post(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> Any:
        assert url == f"{self.issuer}/token"
        assert headers["authorization"].startswith("Basic ")
        self.forms.append(form)
        return {"id_token": self.token or self.signed()}


@cache
def _key_of(_issuer: str) -> RSAPrivateKey:
    return generate_private_key(public_exponent=65537, key_size=2048)
