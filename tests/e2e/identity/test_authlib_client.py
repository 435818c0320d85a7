"""Authlib's client completes every flow, and curl the documented example."""

import json
import shlex
import subprocess
from typing import Any

import pytest
from authlib.integrations.httpx_client import OAuth2Client
from deeplens.access.scopes import API_SCOPES, READ
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.e2e.identity.conftest import CALLBACK, PASSWORD, SECRET, App, World

EXAMPLE = (
    'curl -X POST http://localhost:5198/connect/token -d "grant_type=client_credentials" '
    '-d "client_id=deeplens-m2m" -d "client_secret=m2m-secret"'
)
VERIFIER = "a-verifier-that-has-more-than-forty-two-characters"


def relying_party(world: World, app: App, method: str | None = None, **options: Any) -> OAuth2Client:
    return OAuth2Client(
        client_id=app.client.id,
        client_secret=app.secret,
        token_endpoint_auth_method=method or ("client_secret_basic" if app.secret else "none"),
        code_challenge_method="S256",
        redirect_uri=CALLBACK,
        token_endpoint=f"{world.issuer}/connect/token",
        trust_env=False,
        timeout=30,
        **options,
    )


def id_claims(world: World, text: str) -> dict[str, Any]:
    """Claims of an ID token, its signature checked with the published keys."""
    document = world.http.get(f"{world.issuer}/.well-known/openid-configuration").json()
    keys = KeySet.import_key_set(world.http.get(document["jwks_uri"]).json())
    return dict(jwt.decode(text, keys, algorithms=["RS256"]).claims)


def test_the_documented_example_works_as_it_stands(world: World) -> None:
    command = shlex.split(EXAMPLE.replace("http://localhost:5198", world.issuer))
    done = subprocess.run([*command, "-sS", "--noproxy", "*"], capture_output=True, text=True, timeout=30, check=True)
    answer = json.loads(done.stdout)
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 3600)
    assert set(answer["scope"].split()) == set(API_SCOPES)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_a_machine_reads_its_tenants_images(world: World, method: str) -> None:
    client = relying_party(world, world.app(SECRET if method == "client_secret_post" else "plain"), method, scope=READ)
    token = client.fetch_token(grant_type="client_credentials")
    assert token["scope"] == READ
    assert "refresh_token" not in token
    assert world.search(token["access_token"]).status_code == 200


@pytest.mark.parametrize("secret", ["plain", None], ids=["confidential", "public"])
def test_a_person_signs_in_and_the_application_goes_on_without_asking(world: World, secret: str | None) -> None:
    app, email, browser = world.app(secret), world.user("editor"), world.browser()
    client = relying_party(world, app, scope=f"openid profile offline_access {READ}")
    address, state = client.create_authorization_url(
        f"{world.issuer}/connect/authorize", code_verifier=VERIFIER, nonce="a nonce"
    )
    answer = browser.answer(address, email, PASSWORD)
    token = client.fetch_token(authorization_response=answer, state=state, code_verifier=VERIFIER)

    claims = id_claims(world, token["id_token"])
    assert (claims["iss"], claims["aud"], claims["nonce"]) == (world.issuer, app.client.id, "a nonce")
    assert {"sub", "exp", "iat", "auth_time", "sid", "at_hash"} <= claims.keys()
    about = client.get(f"{world.issuer}/connect/userinfo").json()
    assert about["sub"] == claims["sub"]
    assert (about["preferred_username"], about["roles"]) == (email, ["editor"])
    assert world.search(token["access_token"]).status_code == 200

    again = client.refresh_token(f"{world.issuer}/connect/token", refresh_token=token["refresh_token"])
    assert again["refresh_token"] != token["refresh_token"]
    assert id_claims(world, again["id_token"])["sub"] == claims["sub"]
    assert world.search(again["access_token"]).status_code == 200

    revoked = client.revoke_token(f"{world.issuer}/connect/revocation", token=again["refresh_token"])
    assert revoked.status_code == 200
    assert app.refresh(again["refresh_token"]).json()["error"] == "invalid_grant"
    assert app.userinfo(again["access_token"]).status_code == 401


def test_a_client_learns_whether_its_tokens_are_alive(world: World) -> None:
    app = world.app("plain")
    tokens = world.tokens(app, world.user("viewer"))
    client = relying_party(world, app)
    at = f"{world.issuer}/connect/introspect"
    access = client.introspect_token(at, token=tokens["access_token"]).json()
    refresh = client.introspect_token(at, token=tokens["refresh_token"], token_type_hint="refresh_token").json()
    assert (access["active"], access["client_id"], access["token_type"]) == (True, app.client.id, "Bearer")
    assert (refresh["active"], refresh["token_type"], refresh["sub"]) == (True, "refresh_token", access["sub"])
    client.revoke_token(f"{world.issuer}/connect/revocation", token=tokens["access_token"])
    for token in (tokens["access_token"], tokens["refresh_token"], "of nobody"):
        assert client.introspect_token(at, token=token).json() == {"active": False}
