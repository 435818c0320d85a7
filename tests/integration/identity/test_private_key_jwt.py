"""Clients that authenticate with a private key, and every false assertion that we could make."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import jwt
import pytest
from authlib.oauth2.rfc7523 import private_key_jwt_sign
from authlib.oauth2.rfc7523.client import ASSERTION_TYPE
from cryptography.hazmat.primitives import serialization
from deeplens.access.scopes import ADMIN, API_SCOPES, READ
from deeplens.bootstrap.admin_api import create_admin_app
from deeplens.database.connections import Connections
from deeplens.tenants.model import Tenant
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from starlette.testclient import TestClient

from tests.fakes.federation import FakeProvider
from tests.harness.applications import application
from tests.harness.identity import ISSUER, SECRET, IdentityApi
from tests.integration.conftest import NewTenant

TOKEN = f"{ISSUER}/connect/token"
KEYS: dict[str, Key] = {
    "RS256": RSAKey.generate_key(2048, {"kid": "rsa"}),
    "PS256": RSAKey.generate_key(2048, {"kid": "pss"}),
    "ES256": ECKey.generate_key("P-256", {"kid": "ec"}),
    "EdDSA": OKPKey.generate_key("Ed25519", {"kid": "ed"}),
}
RSA, OTHER = KEYS["RS256"], KEYS["PS256"]


def public(*keys: Key) -> dict[str, Any]:
    return {"keys": [key.as_dict(private=False) for key in keys]}


class World:
    """Clients that the Admin API registered, and requests for their tokens."""

    def __init__(self, identity: IdentityApi, tenant: Tenant) -> None:
        self.identity, self.tenant = identity, tenant
        self.admin = TestClient(application(create_admin_app, identity.container))
        self.path = f"/v1/admin/tenants/{tenant.id}/clients"
        self.key = self.key_of(tenant)

    def key_of(self, tenant: Tenant, *scopes: str) -> dict[str, str]:
        return {"X-API-Key": self.identity.container.api_keys.create(tenant.id, "key", scopes or API_SCOPES)}

    def register(self, **changed: Any) -> httpx.Response:
        body = {"name": "Importer", "grants": ["client_credentials"], "scopes": [READ], "jwks": public(RSA)}
        return self.admin.post(self.path, json=body | changed, headers=self.key)  # type: ignore[return-value]

    def client(self, **changed: Any) -> str:
        answer = self.register(**changed)
        assert answer.status_code == 201, answer.text
        assert answer.json()["tokenEndpointAuthMethod"] == "private_key_jwt"
        assert answer.json()["clientSecret"] is None
        return str(answer.json()["clientId"])

    def ask(self, assertion: str, endpoint: str = "token", **form: str) -> httpx.Response:
        known = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
        known |= {"grant_type": "client_credentials"} if endpoint == "token" else {}
        return self.identity.http().post(f"/connect/{endpoint}", data=known | form)  # type: ignore[return-value]


def signed(client_id: str, key: Key = RSA, algorithm: str = "RS256", **changed: Any) -> str:
    """An assertion as Authlib's client makes it, with other claims; None leaves one out."""
    assertion: str = private_key_jwt_sign(key, client_id, TOKEN, algorithm, expires_in=120)
    if not changed:
        return assertion
    good = jwt.decode(assertion, options={"verify_signature": False})
    claims = {name: value for name, value in {**good, **changed}.items() if value is not None}
    pem = key.as_pem(private=True)
    return jwt.PyJWS().encode(json.dumps(claims).encode(), pem, algorithm, {"kid": key.kid})  # type: ignore[attr-defined]


@pytest.fixture
def world(identity: IdentityApi, tenant: Tenant, connections: Connections) -> World:
    with connections.platform() as connection:
        connection.execute("DELETE FROM nextgen_identity.signing_keys")
    return World(identity, tenant)


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_client_gets_tokens_with_its_key(world: World, algorithm: str) -> None:
    client_id = world.client(jwks=public(*KEYS.values()))
    answer = world.ask(signed(client_id, KEYS[algorithm], algorithm))
    assert answer.status_code == 200, answer.text
    claims = jwt.decode(answer.json()["access_token"], options={"verify_signature": False})
    assert (claims["client_id"], claims["tenant_id"]) == (client_id, world.tenant.id)


@pytest.mark.parametrize("audience", [ISSUER, TOKEN, [ISSUER], [ISSUER, TOKEN]])
def test_the_audience_is_the_issuer_or_the_token_endpoint(world: World, audience: Any) -> None:
    client_id = world.client()
    for form in ({}, {"client_id": client_id}):
        assert world.ask(signed(client_id, aud=audience, jti=str(form)), **form).status_code == 200


def test_a_key_serves_every_endpoint_and_each_assertion_once(world: World) -> None:
    client_id = world.client()
    token = world.ask(signed(client_id)).json()["access_token"]
    assert world.ask(signed(client_id), "introspect", token=token).json()["active"] is True
    assert world.ask(signed(client_id), "revocation", token="unknown").status_code == 200
    assertion = signed(client_id)
    assert world.ask(assertion).status_code == 200
    for endpoint in ("token", "introspect"):
        answer = world.ask(assertion, endpoint, token=token)
        assert (answer.status_code, answer.json()["error"]) in ((400, "invalid_client"), (401, "invalid_client"))


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://evil.test"},
        {"aud": [ISSUER, "https://evil.test"]},
        {"aud": f"{ISSUER}/connect/introspect"},
        {"aud": []},
        {"aud": None},
        {"iss": "another"},
        {"iss": None},
        {"sub": "another"},
        {"sub": None},
        {"sub": 1},
        {"exp": 1},
        {"exp": int(time.time()) + 3600},
        {"exp": None},
        {"exp": "soon"},
        {"exp": True},
        {"exp": 1e300},
        {"iat": int(time.time()) + 3600},
        {"nbf": int(time.time()) + 3600},
        {"jti": None},
        {"jti": ""},
        {"jti": 1},
        {"jti": "x" * 300},
    ],
    ids=", ".join,
)
def test_an_assertion_with_a_wrong_claim_is_refused(world: World, claims: dict[str, Any]) -> None:
    answer = world.ask(signed(world.client(), **claims))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client")


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def with_secret(client_id: str, secret: bytes) -> str:
    header = encoded(json.dumps({"alg": "HS256", "kid": "rsa"}).encode())
    text = f"{header}.{signed(client_id).split('.')[1]}"
    return f"{text}.{encoded(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


def _unsigned(client_id: str) -> str:
    return jwt.encode(jwt.decode(signed(client_id), options={"verify_signature": False}), None, "none")


def _hs256_with_the_public_key(client_id: str) -> str:
    return with_secret(client_id, RSA.as_pem(private=False))  # type: ignore[attr-defined]


def _hs256_with_the_modulus(client_id: str) -> str:
    return with_secret(client_id, str(public(RSA)["keys"][0]["n"]).encode())


def _another_key(client_id: str) -> str:
    return signed(client_id, OTHER)


def _own_key_in_the_header(client_id: str) -> str:
    claims = jwt.decode(signed(client_id), options={"verify_signature": False})
    pem = serialization.load_pem_private_key(OTHER.as_pem(private=True), None)  # type: ignore[attr-defined]
    return jwt.encode(claims, pem, "RS256", {"jwk": public(OTHER)["keys"][0], "kid": "rsa"})  # type: ignore[arg-type]


def _another_algorithm(client_id: str) -> str:
    return signed(client_id, algorithm="RS512", jti="another")


@pytest.mark.parametrize(
    "forge",
    [
        *(_unsigned, _hs256_with_the_public_key, _hs256_with_the_modulus, _another_key, _own_key_in_the_header),
        *(_another_algorithm, lambda _: "a.b.c", lambda _: "ä", lambda client_id: client_id),
    ],
)
def test_an_assertion_that_no_key_of_the_client_has_signed_is_refused(
    world: World, forge: Callable[[str], str]
) -> None:
    answer = world.ask(forge(world.client()))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client")


def test_the_key_of_another_client_signs_for_nobody_else(world: World) -> None:
    mine, theirs = world.client(jwks=public(OTHER)), world.client()
    assert world.ask(signed(theirs, OTHER)).json()["error"] == "invalid_client"
    assert world.ask(signed(mine, OTHER), client_id=theirs).json()["error"] == "invalid_client"
    assert world.ask(signed(mine, OTHER)).status_code == 200


def test_each_method_lets_in_only_its_own_clients(world: World) -> None:
    with_key = world.client()
    form = {"grant_type": "client_credentials", "client_id": with_key}
    for more in ({}, {"client_secret": SECRET}, {"client_secret": ""}, {"client_secret": json.dumps(public(RSA))}):
        assert world.identity.http().post("/connect/token", data=form | more).json()["error"] == "invalid_client"
    with_secret_only = world.identity.client(grants=("client_credentials",))
    assert world.ask(signed(with_secret_only.id)).json()["error"] == "invalid_client"
    without = world.identity.client(secret_sha256=None)
    assert world.ask(signed(without.id)).json()["error"] == "invalid_client"
    assert world.ask(signed("unknown")).json()["error"] == "invalid_client"


def test_discovery_says_it(world: World) -> None:
    document = world.identity.http().get("/.well-known/openid-configuration").json()
    for endpoint in ("token", "revocation", "introspection"):
        assert "private_key_jwt" in document[f"{endpoint}_endpoint_auth_methods_supported"]
        assert set(document[f"{endpoint}_endpoint_auth_signing_alg_values_supported"]) == set(KEYS)


def test_keys_at_an_address_are_read_through_egress_and_again_for_a_new_key(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, provider = "https://93.184.215.14/jwks.json", FakeProvider()
    provider.documents[address] = public(RSA)
    vars(world.identity.container).update(provider_endpoint=provider)
    client_id = world.client(jwks=None, jwksUri=address)
    assert world.ask(signed(client_id)).status_code == 200
    provider.documents[address] = public(OTHER)
    assert world.ask(signed(client_id, OTHER)).json()["error"] == "invalid_client"
    monkeypatch.setattr("deeplens.identity.federation.documents.REFRESH_SECONDS", 0.0)
    assert world.ask(signed(client_id, OTHER)).status_code == 200
    assert world.ask(signed(client_id)).json()["error"] == "invalid_client"
    for document in ({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "rsa"}]}, {}, [], "text", {"keys": []}):
        provider.documents[address] = document
        assert world.ask(signed(client_id)).json()["error"] == "invalid_client"
    del provider.documents[address]
    assert world.ask(signed(client_id)).json()["error"] == "invalid_client"


@pytest.mark.parametrize(
    "changed",
    [
        {"jwks": None, "tokenEndpointAuthMethod": "private_key_jwt"},
        {"tokenEndpointAuthMethod": "client_secret_basic"},
        {"tokenEndpointAuthMethod": "none"},
        {"confidential": False, "grants": ["authorization_code"], "redirectUris": ["https://a.test/cb"]},
        {"jwksUri": "https://93.184.215.14/jwks"},
        {"jwks": None, "jwksUri": "https://127.0.0.1/jwks"},
        {"jwks": None, "jwksUri": "https://169.254.169.254/latest/meta-data"},
        {"jwks": None, "jwksUri": "http://93.184.215.14/jwks"},
        {"jwks": {}},
        {"jwks": {"keys": []}},
        {"jwks": {"keys": [1]}},
        {"jwks": {"keys": public(RSA)["keys"] * 11}},
        {"jwks": {"keys": [RSA.as_dict(private=True)]}},
        {"jwks": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}},
        {"jwks": {"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}},
        {"jwks": {"keys": [{"kty": "EC", "crv": "P-521"}]}},
    ],
    ids=", ".join,
)
def test_what_is_no_public_key_or_does_not_fit_is_not_registered(world: World, changed: dict[str, Any]) -> None:
    answer = world.register(**changed)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/client-not-possible"), answer.text


def test_an_administrator_replaces_keys_and_the_old_ones_end_at_once(world: World, new_tenant: NewTenant) -> None:
    client_id = world.client()
    path = f"{world.path}/{client_id}"
    for key, status in ((world.key_of(new_tenant()), 404), (world.key_of(world.tenant, ADMIN), 403)):
        assert world.admin.put(f"{path}/keys", json={"jwks": public(OTHER)}, headers=key).status_code == status
    assert world.ask(signed(client_id)).status_code == 200
    assert world.admin.put(f"{path}/keys", json={"jwks": public(OTHER)}, headers=world.key).status_code == 200
    assert world.ask(signed(client_id)).json()["error"] == "invalid_client"
    assert world.ask(signed(client_id, OTHER)).status_code == 200
    # A secret would be a second way in.
    assert world.admin.post(f"{path}/rotate", headers=world.key).status_code == 422
    (listed,) = world.admin.get(world.path, headers=world.key).json()["clients"]
    assert listed["tokenEndpointAuthMethod"] == "private_key_jwt"


def test_a_client_that_gets_keys_loses_its_secret(world: World) -> None:
    made = world.register(jwks=None).json()
    form = {"client_id": made["clientId"], "client_secret": made["clientSecret"], "grant_type": "client_credentials"}
    assert world.identity.http().post("/connect/token", data=form).status_code == 200
    path = f"{world.path}/{made['clientId']}/keys"
    assert world.admin.put(path, json={"jwks": public(RSA)}, headers=world.key).status_code == 200
    assert world.identity.http().post("/connect/token", data=form).json()["error"] == "invalid_client"
    assert world.ask(signed(made["clientId"])).status_code == 200
