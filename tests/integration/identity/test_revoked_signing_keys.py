"""Whoever has a signing key makes tokens as they like, until an operator revokes the key."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import jwt
import pytest
from deeplens.access.audiences import API_AUDIENCE
from deeplens.access.bearer import BearerTokens, KeySet
from deeplens.access.scopes import ADMIN, API_SCOPES, READ
from deeplens.bootstrap.admin_api import create_admin_app
from deeplens.bootstrap.search_api import create_app
from deeplens.database.connections import Connections
from deeplens.identity.model import Client
from deeplens.tenants.model import Tenant
from starlette.testclient import TestClient

from tests.harness.applications import application
from tests.harness.identity import ISSUER, SECRET, IdentityApi

KEYS = "/v1/admin/signing-keys"
GRANTS = ("authorization_code", "refresh_token", "client_credentials")


class World:
    """All three APIs in this process, and what their functions cache about keys, at a time that tests set."""

    def __init__(self, identity: IdentityApi) -> None:
        self.identity, self.seconds = identity, 0.0
        parts = identity.container
        for name, read, audience in (
            ("bearer_tokens", parts.stored_keys.jwks, (API_AUDIENCE,)),
            ("own_tokens", parts.signing_keys.jwks, (API_AUDIENCE, ISSUER)),
        ):
            keys = KeySet(read, monotonic=lambda: self.seconds)
            setattr(parts, name, BearerTokens(keys, ISSUER, parts.active_clients.is_active, audience))
        apps = [application(create, parts) for create in (create_admin_app, create_app)]
        self.admin, self.search = (TestClient(app) for app in apps)
        self.operator = {"X-API-Key": parts.api_keys.create(None, "operator", [ADMIN])}

    def minted(self, client: Client) -> str:
        """What an attacker with the private key makes: an operator's token of a client that exists."""
        kid, pem = self.identity.container.signing_keys.signer()
        now = int(time.time())
        claims: dict[str, Any] = {"iss": ISSUER, "aud": [API_AUDIENCE, ISSUER], "sub": client.id, "operator": True}
        claims |= {"client_id": client.id, "scope": " ".join(("openid", *API_SCOPES))}
        claims |= {"iat": now, "nbf": now, "exp": now + 3600}
        return jwt.encode(claims, pem, "RS256", {"kid": kid, "typ": "at+jwt"})

    def statuses(self, token: str) -> dict[str, int]:
        """What each API answers to a token."""
        bearer = {"Authorization": f"Bearer {token}"}
        return {
            "admin": self.admin.get(KEYS, headers=bearer).status_code,
            "search": self.search.get("/v1/images", headers=bearer).status_code,
            "identity": self.identity.http().get("/connect/userinfo", headers=bearer).status_code,
        }

    def kids(self) -> list[str]:
        keys = self.identity.http().get("/.well-known/openid-configuration/jwks").json()["keys"]
        return [key["kid"] for key in keys]


@pytest.fixture
def world(identity: IdentityApi, connections: Connections) -> Iterator[World]:
    with connections.platform() as connection:
        connection.execute("DELETE FROM nextgen_identity.signing_keys")
    yield World(identity)
    with connections.platform() as connection:
        connection.execute("DELETE FROM nextgen_identity.signing_keys")


def revoke(world: World, kid: str) -> httpx.Response:
    return world.admin.delete(f"{KEYS}/{kid}", headers=world.operator)


def test_tokens_of_a_revoked_key_are_refused_by_every_api_and_those_of_its_successor_are_not(
    world: World, tenant: Tenant
) -> None:
    app = world.identity.client(grants=GRANTS)
    user, member = world.identity.user(), world.identity.user("editor", tenant_id=tenant.id)
    granted = world.identity.redeem(app, world.identity.granted(app, user))
    of_tenant = world.identity.redeem(app, world.identity.granted(app, member))
    forged = world.minted(app)
    assert world.statuses(forged) == {"admin": 200, "search": 403, "identity": 401}
    assert world.statuses(of_tenant["access_token"])["identity"] == 200
    (kid,) = world.kids()

    assert revoke(world, kid).status_code == 204
    assert kid not in world.kids()
    world.seconds += 10
    refused = {"admin": 401, "search": 401, "identity": 401}
    for token in (forged, granted["access_token"], of_tenant["access_token"]):
        assert world.statuses(token) == refused
    introspection = world.identity.http().post(
        "/connect/introspect", data={"token": forged, "client_id": app.id, "client_secret": SECRET}
    )
    assert introspection.json() == {"active": False}
    hint = {"id_token_hint": granted["id_token"]}
    assert world.identity.http().get("/connect/endsession", params=hint).status_code == 400

    again = world.identity.token(app, grant_type="refresh_token", refresh_token=granted["refresh_token"])
    assert world.statuses(again["access_token"])["identity"] == 200
    assert jwt.get_unverified_header(again["access_token"])["kid"] != kid


def test_the_tokens_of_other_keys_stay_valid(world: World) -> None:
    app, user = world.identity.client(grants=GRANTS), world.identity.user()
    first = world.kids()[0]
    before = world.identity.redeem(app, world.identity.granted(app, user))["access_token"]
    world.identity.container.stored_keys.mark_lost(first, world.identity.container.clock.now())
    second = world.identity.token(app, grant_type="client_credentials", scope=READ)["access_token"]
    world.seconds += 1
    assert world.statuses(second)["search"] == 403
    assert revoke(world, jwt.get_unverified_header(second)["kid"]).status_code == 204
    world.seconds += 10
    assert world.statuses(second)["search"] == 401
    assert world.statuses(before)["identity"] == 200


def test_an_operator_sees_the_keys_and_revokes_each_once(world: World) -> None:
    (kid,) = world.kids()
    (listed,) = world.admin.get(KEYS, headers=world.operator).json()["keys"]
    assert (listed["kid"], listed["signing"], listed["revoked"]) == (kid, True, False)
    assert revoke(world, kid).status_code == 204
    (listed,) = world.admin.get(KEYS, headers=world.operator).json()["keys"]
    assert (listed["signing"], listed["revoked"]) == (False, True)
    for unknown in (kid, "unknown", "%00", "ä"):
        assert revoke(world, unknown).status_code == 404


def test_a_tenants_administrator_neither_sees_nor_revokes_signing_keys(world: World, tenant: Tenant) -> None:
    key = world.identity.container.api_keys.create(tenant.id, "administrator", API_SCOPES)
    (kid,) = world.kids()
    assert world.admin.get(KEYS, headers={"X-API-Key": key}).status_code == 403
    assert world.admin.delete(f"{KEYS}/{kid}", headers={"X-API-Key": key}).status_code == 403
    assert world.kids() == [kid]
