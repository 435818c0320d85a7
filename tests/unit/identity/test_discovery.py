"""The discovery document says what is there: every address is served, every promise is the code's own."""

from typing import Any, cast

import pytest
from deeplens.access.scopes import SCOPES
from deeplens.bootstrap.container import Container
from deeplens.identity import discovery
from deeplens.identity.app import create_identity_app
from deeplens.identity.grants import AuthorizationCodes, ClientCredentials, Pkce, RefreshTokens
from deeplens.settings import Settings
from fastapi import FastAPI
from starlette.testclient import TestClient

ISSUER = "https://id.deeplens.test"


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return create_identity_app(Container(Settings(identity_url=ISSUER, DEEPLENS_ENVIRONMENT="local")))


@pytest.fixture(scope="module")
def document(app: FastAPI) -> dict[str, Any]:
    return cast("dict[str, Any]", TestClient(app).get("/.well-known/openid-configuration").json())


def test_both_names_give_the_same_document(app: FastAPI, document: dict[str, Any]) -> None:
    assert TestClient(app).get("/.well-known/oauth-authorization-server").json() == document
    assert document["issuer"] == ISSUER


def test_every_address_in_it_is_served(app: FastAPI, document: dict[str, Any]) -> None:
    addresses = {name: url for name, url in document.items() if name.endswith(("_endpoint", "_uri"))}
    assert len(addresses) == 7
    for url in addresses.values():
        assert str(url).startswith(f"{ISSUER}/")
        # Not 404: the route is there, if not for this method.
        assert TestClient(app).request("TRACE", str(url).removeprefix(ISSUER)).status_code == 405


def test_it_promises_what_the_code_does(document: dict[str, Any]) -> None:
    grants = (AuthorizationCodes, ClientCredentials, RefreshTokens)
    assert set(document["grant_types_supported"]) == {str(grant.GRANT_TYPE) for grant in grants}
    assert document["code_challenge_methods_supported"] == list(Pkce.SUPPORTED_CODE_CHALLENGE_METHOD)
    assert document["response_types_supported"] == ["code"]
    assert document["scopes_supported"] == list(SCOPES)
    assert "none" not in document["id_token_signing_alg_values_supported"]
    assert "none" not in document["introspection_endpoint_auth_methods_supported"]


def test_it_has_what_openid_connect_requires(document: dict[str, Any]) -> None:
    required = {
        "issuer",
        "authorization_endpoint",
        "token_endpoint",
        "jwks_uri",
        "response_types_supported",
        "subject_types_supported",
        "id_token_signing_alg_values_supported",
    }
    assert required <= document.keys()


def test_a_new_key_is_published_longer_than_anybody_keeps_the_set() -> None:
    from deeplens.identity.key_plan import LEAD

    kept = int(discovery.KEYS_CACHE_CONTROL.rpartition("=")[2])
    assert kept < LEAD.total_seconds()
