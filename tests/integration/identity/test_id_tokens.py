"""What a provider says about somebody: every ID token and answer that we could forge."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from deeplens.database.connections import Connections
from deeplens.tenants.model import Tenant

from tests.fakes.federation import CLIENT_ID, FakeProvider
from tests.harness.browser import query_of
from tests.harness.federated_identity import EMAIL, FederatedIdentity, federated_identity, refused
from tests.harness.identity import IdentityApi


@pytest.fixture
def world(identity: IdentityApi, tenant: Tenant, connections: Connections) -> Iterator[FederatedIdentity]:
    with federated_identity(identity, tenant, connections) as world:
        yield world


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://login.evil.test"},
        {"iss": None},
        {"aud": "another-client"},
        {"aud": [CLIENT_ID, "another-client"]},
        {"aud": [CLIENT_ID, "another-client"], "azp": "another-client"},
        {"azp": "another-client"},
        {"aud": None},
        {"exp": 1},
        {"exp": None},
        {"exp": "tomorrow"},
        {"iat": None},
        {"iat": 32503680000},
        {"nonce": "another"},
        {"nonce": None},
        {"sub": None},
        {"sub": 1},
        {"sub": ""},
        {"email": None},
        {"email": "ada"},
        {"email": ["ada@acme.test"]},
        {"email": "ada@acme.test@evil.test"},
        {"email": "ada@evil.test"},
        {"email": "ada@sub.acme.test"},
        {"email_verified": False},
    ],
    ids=str,
)
def test_an_id_token_with_a_wrong_claim_signs_nobody_in(world: FederatedIdentity, claims: dict[str, Any]) -> None:
    world.provider.claims = claims
    browser = world.identity.browser()
    refused(world, browser, world.sign_in(browser))
    assert not world.parts.users.exist([EMAIL])


def _unsigned(provider: FakeProvider) -> str:
    return jwt.encode(jwt.decode(provider.signed(), options={"verify_signature": False}), None, "none")


def _hs256_with_the_public_key(provider: FakeProvider) -> str:
    import hashlib
    import hmac

    public = provider.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    encode = lambda part: base64.urlsafe_b64encode(part).rstrip(b"=").decode()  # noqa: E731
    body = provider.signed().split(".")[1]
    text = f"{encode(json.dumps({'alg': 'HS256', 'kid': 'first'}).encode())}.{body}"
    return f"{text}.{encode(hmac.new(public, text.encode(), hashlib.sha256).digest())}"


def _other_key(provider: FakeProvider) -> str:
    return provider.signed(generate_private_key(public_exponent=65537, key_size=2048))


def _rs512(provider: FakeProvider) -> str:
    return provider.signed(algorithm="RS512")


@pytest.mark.parametrize("forge", [_unsigned, _hs256_with_the_public_key, _other_key, _rs512, lambda _: "a.b.c"])
def test_an_id_token_that_the_provider_did_not_sign_signs_nobody_in(world: FederatedIdentity, forge: Any) -> None:
    browser = world.identity.browser()
    target = world.begin(browser)
    world.provider.token = forge(world.provider)
    refused(world, browser, world.come_back(browser, target))


def test_a_shared_secret_in_the_key_set_verifies_nothing(world: FederatedIdentity) -> None:
    secret = b"a secret of thirty-two characters"
    octets = {"kty": "oct", "kid": "first", "k": base64.urlsafe_b64encode(secret).rstrip(b"=").decode()}
    world.provider.documents[f"{world.provider.issuer}/jwks"] = {"keys": [octets]}
    browser = world.identity.browser()
    target = world.begin(browser)
    world.provider.token = world.provider.signed(secret, "HS256")
    refused(world, browser, world.come_back(browser, target))


@pytest.mark.parametrize("changed", [{"iss": "https://login.evil.test"}, {"iss": ""}])
def test_an_answer_of_another_provider_is_not_redeemed(world: FederatedIdentity, changed: dict[str, str]) -> None:
    browser = world.identity.browser()
    refused(world, browser, world.sign_in(browser, **changed))
    assert world.provider.forms == []


def test_an_answer_without_issuer_is_not_redeemed_if_the_provider_promised_one(world: FederatedIdentity) -> None:
    browser = world.identity.browser()
    state = query_of(world.begin(browser))["state"]
    refused(world, browser, browser.http.get(f"/account/federation/callback?state={state}&code=a"))
    assert world.provider.forms == []


def test_a_state_works_once_and_only_in_the_browser_that_began(world: FederatedIdentity) -> None:
    victim, attacker = world.identity.browser(), world.identity.browser()
    target = world.begin(attacker)
    # The attacker's answer in the victim's browser, with and without a sign-in of its own.
    refused(world, victim, world.come_back(victim, target))
    refused(world, attacker, world.come_back(attacker, target))
    world.begin(victim)
    refused(world, victim, world.come_back(victim, world.begin(attacker)))
    assert world.provider.forms == []
    browser = world.identity.browser()
    target = world.begin(browser)
    assert world.come_back(browser, target).status_code == 303
    assert world.come_back(world.identity.browser(), target).status_code == 400
    assert len(world.provider.forms) == 1
    for state in ("", "unknown", "ä\x00"):
        assert world.come_back(world.identity.browser(), target, state=state).status_code == 400


def test_a_state_ends_after_ten_minutes(world: FederatedIdentity, connections: Connections) -> None:
    browser = world.identity.browser()
    target = world.begin(browser)
    with connections.platform() as connection:
        connection.execute("UPDATE nextgen_identity.federated_sign_ins SET expires_at = now()")
    refused(world, browser, world.come_back(browser, target))


def test_the_nonce_and_the_verifier_of_each_sign_in_are_its_own(world: FederatedIdentity) -> None:
    browser = world.identity.browser()
    requests = [query_of(world.begin(browser)) for _ in range(2)]
    for name in ("state", "nonce", "code_challenge"):
        assert requests[0][name] != requests[1][name]
    assert {request["code_challenge_method"] for request in requests} == {"S256"}
