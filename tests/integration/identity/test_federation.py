"""Sign-in with an organisation's own provider: a real second Identity API, and every answer that we could forge."""

import base64
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from typing import Any
from urllib.parse import urlencode

import httpx
import jwt
import pytest
import uvicorn
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from deeplens.access.scopes import ADMIN, API_SCOPES
from deeplens.bootstrap.admin_api import create_admin_app
from deeplens.database.connections import Connections
from deeplens.database.credentials import database_url
from deeplens.identity.model import User
from deeplens.provisioning.provision import create_database
from deeplens.tenants.model import Tenant
from fastapi import FastAPI
from starlette.testclient import TestClient

from local.operations import migrations
from tests.fakes.federation import CLIENT_ID, FakeProvider, FakeTxtRecords
from tests.harness.applications import application
from tests.harness.browser import Browser, form_of, query_of
from tests.harness.identity import ISSUER, PASSWORD, SECRET, IdentityApi
from tests.integration.conftest import NewTenant

CALLBACK = f"{ISSUER}/account/federation/callback"
EMAIL = "ada@acme.test"
LINK = re.compile(r'<main>.*?href="([^"]+)"', re.DOTALL)


class World:
    """A tenant with a provider, through the Admin API; and browsers that sign in with it."""

    def __init__(self, identity: IdentityApi, tenant: Tenant, provider: FakeProvider) -> None:
        self.identity, self.tenant, self.provider = identity, tenant, provider
        self.parts, self.records = identity.container, FakeTxtRecords()
        vars(self.parts).update(provider_endpoint=provider, txt_records=self.records)
        self.admin = TestClient(application(create_admin_app, self.parts))

    def key(self, tenant: Tenant, *scopes: str) -> dict[str, str]:
        return {"X-API-Key": self.parts.api_keys.create(tenant.id, "administrator", scopes or API_SCOPES)}

    def put(self, tenant: Tenant | None = None, key: dict[str, str] | None = None, **changed: Any) -> httpx.Response:
        tenant = tenant or self.tenant
        body = {
            "issuer": self.provider.issuer,
            "clientId": CLIENT_ID,
            "clientSecret": "the provider's secret",
            "domains": ["acme.test"],
        }
        path = f"/v1/admin/tenants/{tenant.id}/identity-provider"
        return self.admin.put(path, json=body | changed, headers=key or self.key(tenant))  # type: ignore[return-value]

    def verify(self, domain: str = "acme.test", tenant: Tenant | None = None, publish: bool = True) -> int:
        tenant = tenant or self.tenant
        if publish:
            for known in self.parts.identity_providers.domains(tenant.id):
                self.records.records.setdefault(known.txt_name, []).append(known.txt_value)
        path = f"/v1/admin/tenants/{tenant.id}/identity-provider/domains/{domain}/verify"
        return self.admin.post(path, headers=self.key(tenant)).status_code

    def begin(self, browser: Browser, email: str = EMAIL, goal: str = "/connect/authorize?a") -> str:
        """The address at the provider that the sign-in page leads to."""
        address = f"/account/sign-in?{urlencode({'return': goal})}"
        fields = {**form_of(browser.open(address)).fields, "email": email}
        page = browser.http.post(f"/account/federation?{urlencode({'return': goal})}", data=fields)
        assert page.status_code == 200, page.text
        found = LINK.search(page.text)
        assert found, page.text
        target = unescape(found[1])
        assert page.headers["refresh"] == f"0; url={target}"
        self.provider.nonce = query_of(target).get("nonce", "")
        return target

    def come_back(self, browser: Browser, target: str, **changed: str) -> httpx.Response:
        """Return from the provider, which let the person in."""
        answer = {"state": query_of(target)["state"], "code": "a code", "iss": self.provider.issuer}
        return browser.http.get(f"/account/federation/callback?{urlencode(answer | changed)}")

    def sign_in(self, browser: Browser | None = None, **changed: str) -> httpx.Response:
        browser = browser or self.identity.browser()
        return self.come_back(browser, self.begin(browser), **changed)

    def who(self, browser: Browser) -> User | None:
        session = self.parts.users.session(browser.cookie("deeplens-session") or "", self.parts.clock.now())
        return session.user if session else None


@pytest.fixture
def world(identity: IdentityApi, tenant: Tenant, connections: Connections) -> Iterator[World]:
    with connections.platform() as connection:
        connection.execute("DELETE FROM nextgen_identity.signing_keys")
    world = World(identity, tenant, FakeProvider())
    assert world.put().status_code == 200
    assert world.verify() == 200
    yield world
    with connections.platform() as connection:
        connection.execute("DELETE FROM nextgen_identity.identity_providers")
        connection.execute("DELETE FROM nextgen_identity.users WHERE email LIKE '%@acme.test'")


def refused(world: World, browser: Browser, answer: httpx.Response) -> None:
    assert answer.status_code == 400, answer.headers
    assert "was not accepted" in answer.text
    assert world.who(browser) is None


# A real provider


@contextmanager
def served(app: FastAPI, listener: socket.socket) -> Iterator[None]:
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def real_provider(platform_url: str) -> Iterator[IdentityApi]:
    """A second instance of the Identity API, with a database of its own, at a port of this machine."""
    create_database(platform_url, "provider_platform")
    url = database_url(platform_url, "provider_platform")
    migrations.migrate_platform(url)
    connections = Connections(url)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        issuer = f"http://127.0.0.1:{listener.getsockname()[1]}"
        provider = IdentityApi(connections, identity_url=issuer)
        with served(provider.app, listener):
            yield provider
    connections.close()


def test_people_sign_in_with_a_second_identity_api_as_their_provider(
    world: World, real_provider: IdentityApi, connections: Connections
) -> None:
    issuer = real_provider.container.issuer
    client = real_provider.client(redirect_uris=(CALLBACK,), scopes=("openid", "profile"), needs_consent=False)
    person = User("usr_person", None, EMAIL, "Ada Lovelace", ("platform_admin",))
    real_provider.container.users.create(person, PASSWORD)
    egress = IdentityApi(connections, egress_allowed_networks="127.0.0.1/32", egress_http=True).container
    vars(world.parts).update(provider_endpoint=egress.provider_endpoint)
    named = {"issuer": issuer, "clientId": client.id, "clientSecret": SECRET, "emailClaim": "preferred_username"}
    roles = {"rolesClaim": "roles", "roles": {"platform_admin": "editor"}}
    assert world.put(**named, **roles).status_code == 200
    world.parts.provider_documents.forget()

    app, browser = world.identity.client(tenant_id=world.tenant.id), world.identity.browser()
    target = world.begin(browser, goal=world.identity.request(app))
    at_provider = Browser(issuer)
    page = at_provider.sign_in(at_provider.open(target), EMAIL, PASSWORD)
    answer = browser.open(page.headers["location"])
    location = browser.submit(answer, decision="allow").headers["location"]
    claims = jwt.decode(world.identity.redeem(app, location)["id_token"], options={"verify_signature": False})
    assert (claims["name"], claims["roles"], claims["tenant_id"]) == ("Ada Lovelace", ["editor"], world.tenant.id)
    assert claims["amr"] == ["fed"]

    # Again, in another browser: the same account.
    again = world.identity.browser()
    page = at_provider.open(world.begin(again))
    again.open(page.headers["location"])
    user = world.who(again)
    assert user is not None
    assert (user.id, user.email) == (claims["sub"], EMAIL)
    # The provider's code works once, and in no other browser.
    assert again.http.get(page.headers["location"]).status_code == 400


def test_a_provider_at_a_private_address_is_refused(world: World, real_provider: IdentityApi) -> None:
    guarded = IdentityApi(world.parts.connections).container.provider_endpoint
    vars(world.parts).update(provider_endpoint=guarded)
    for issuer in (
        real_provider.container.issuer,
        "https://127.0.0.1",
        "https://169.254.169.254/latest",
        "https://localhost",
        "https://[::1]:8443",
        "http://93.184.215.14",
    ):
        answer = world.put(issuer=issuer)
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/identity-provider-not-possible"), issuer
    assert world.parts.identity_providers.of_tenant(world.tenant.id).issuer == world.provider.issuer  # type: ignore[union-attr]


# What the provider says


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
def test_an_id_token_with_a_wrong_claim_signs_nobody_in(world: World, claims: dict[str, Any]) -> None:
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
def test_an_id_token_that_the_provider_did_not_sign_signs_nobody_in(world: World, forge: Any) -> None:
    browser = world.identity.browser()
    target = world.begin(browser)
    world.provider.token = forge(world.provider)
    refused(world, browser, world.come_back(browser, target))


def test_a_shared_secret_in_the_key_set_verifies_nothing(world: World) -> None:
    secret = b"a secret of thirty-two characters"
    octets = {"kty": "oct", "kid": "first", "k": base64.urlsafe_b64encode(secret).rstrip(b"=").decode()}
    world.provider.documents[f"{world.provider.issuer}/jwks"] = {"keys": [octets]}
    browser = world.identity.browser()
    target = world.begin(browser)
    world.provider.token = world.provider.signed(secret, "HS256")
    refused(world, browser, world.come_back(browser, target))


@pytest.mark.parametrize("changed", [{"iss": "https://login.evil.test"}, {"iss": ""}])
def test_an_answer_of_another_provider_is_not_redeemed(world: World, changed: dict[str, str]) -> None:
    browser = world.identity.browser()
    refused(world, browser, world.sign_in(browser, **changed))
    assert world.provider.forms == []


def test_an_answer_without_issuer_is_not_redeemed_if_the_provider_promised_one(world: World) -> None:
    browser = world.identity.browser()
    state = query_of(world.begin(browser))["state"]
    refused(world, browser, browser.http.get(f"/account/federation/callback?state={state}&code=a"))
    assert world.provider.forms == []


def test_a_state_works_once_and_only_in_the_browser_that_began(world: World) -> None:
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


def test_a_state_ends_after_ten_minutes(world: World, connections: Connections) -> None:
    browser = world.identity.browser()
    target = world.begin(browser)
    with connections.platform() as connection:
        connection.execute("UPDATE nextgen_identity.federated_sign_ins SET expires_at = now()")
    refused(world, browser, world.come_back(browser, target))


def test_the_nonce_and_the_verifier_of_each_sign_in_are_its_own(world: World) -> None:
    browser = world.identity.browser()
    requests = [query_of(world.begin(browser)) for _ in range(2)]
    for name in ("state", "nonce", "code_challenge"):
        assert requests[0][name] != requests[1][name]
    assert {request["code_challenge_method"] for request in requests} == {"S256"}


# Whose accounts


def test_a_provider_signs_in_nobody_of_another_tenant_or_of_the_platform(world: World, new_tenant: NewTenant) -> None:
    other = new_tenant()
    for number, (owner, role) in enumerate(((None, "platform_admin"), (other.id, "tenant_admin"))):
        email = f"chief{number}@acme.test"
        world.parts.users.create(User(f"usr_chief{number}", owner, email, "Chief", (role,)), PASSWORD)
        world.provider.claims = {"email": email, "sub": f"chief-{number}"}
        browser = world.identity.browser()
        refused(world, browser, world.sign_in(browser))
        stranger = world.identity.user("editor", tenant_id=other.id)
        world.provider.claims = {"email": stranger.email, "sub": f"stranger-{number}"}
        refused(world, browser, world.sign_in(browser))


def test_a_link_to_an_account_that_another_owner_has_now_is_not_followed(
    world: World, new_tenant: NewTenant, connections: Connections
) -> None:
    assert world.sign_in().status_code == 303
    with connections.platform() as connection:
        connection.execute(
            "UPDATE nextgen_identity.users SET tenant_id = %s WHERE email = %s", [new_tenant().id, EMAIL]
        )
    browser = world.identity.browser()
    refused(world, browser, world.sign_in(browser))


def test_an_account_with_a_password_of_the_same_tenant_is_linked_and_keeps_its_roles(world: World) -> None:
    known = User("usr_known", world.tenant.id, EMAIL, "Ada", ("editor",))
    world.parts.users.create(known, PASSWORD)
    browser = world.identity.browser()
    assert world.sign_in(browser).status_code == 303
    assert world.who(browser) == known
    # The link is by subject: another address of the same person leads to the same account.
    world.provider.claims = {"email": "ada.lovelace@acme.test"}
    assert world.sign_in(browser).status_code == 303
    assert world.who(browser) == known


@pytest.mark.parametrize(
    ("groups", "roles"),
    [
        (["admins"], ("tenant_admin",)),
        ("admins", ("tenant_admin",)),
        (["editors", "admins"], ("editor", "tenant_admin")),
        (["platform_admin", "tenant_admin"], ("viewer",)),
        ({"admins": True}, ("viewer",)),
        ([["admins"], 1, None], ("viewer",)),
        (None, ("viewer",)),
    ],
)
def test_roles_are_those_of_the_mapping_and_no_claim_gives_more(
    world: World, groups: Any, roles: tuple[str, ...]
) -> None:
    mapping = {"admins": "tenant_admin", "editors": "editor"}
    assert world.put(rolesClaim="groups", roles=mapping).status_code == 200
    world.provider.claims = {"groups": groups, "tenant_id": "tenant_other", "operator": True}
    browser = world.identity.browser()
    assert world.sign_in(browser).status_code == 303
    user = world.who(browser)
    assert user is not None
    assert (user.tenant_id, user.roles) == (world.tenant.id, roles)
    # The next sign-in takes away what the provider no longer says.
    world.provider.claims = {}
    assert world.sign_in(browser).status_code == 303
    assert world.who(browser).roles == ("viewer",)  # type: ignore[union-attr]


@pytest.mark.parametrize("role", ["platform_admin", "unknown", ""])
def test_no_mapping_names_a_role_of_the_platform(world: World, role: str) -> None:
    assert world.put(rolesClaim="groups", roles={"admins": role}).status_code == 422
    assert world.put(defaultRole=role).status_code == 422


def test_disabled_users_and_suspended_tenants_stay_out(world: World, connections: Connections) -> None:
    assert world.sign_in().status_code == 303
    with connections.platform() as connection:
        connection.execute("UPDATE nextgen_identity.users SET status = 'disabled' WHERE email = %s", [EMAIL])
    browser = world.identity.browser()
    refused(world, browser, world.sign_in(browser))
    with connections.platform() as connection:
        connection.execute("UPDATE nextgen_identity.users SET status = 'active' WHERE email = %s", [EMAIL])
    target = world.begin(browser)
    with connections.platform() as connection:
        connection.execute("UPDATE tenants SET status = 'suspended' WHERE id = %s", [world.tenant.id])
    refused(world, browser, world.come_back(browser, target))


# Domains


def test_only_a_verified_domain_is_federated(world: World) -> None:
    assert world.put(domains=["acme.test", "other.test"]).status_code == 200
    browser = world.identity.browser()
    fields = {**form_of(browser.open("/account/sign-in")).fields, "email": "ada@other.test"}
    page = browser.http.post("/account/federation", data=fields)
    assert (page.status_code, "No organisation is known" in page.text) == (404, True)
    world.provider.claims = {"email": "ada@other.test"}
    refused(world, browser, world.sign_in(browser))
    assert world.verify("other.test", publish=False) == 422
    assert world.verify("unknown.test") == 404
    assert world.verify("other.test") == 200
    assert world.sign_in(browser).status_code == 303


def test_a_domain_belongs_to_one_tenant_and_to_nobody_while_others_have_accounts_in_it(
    world: World, new_tenant: NewTenant
) -> None:
    other = new_tenant()
    assert world.put(other).status_code == 200
    assert world.verify(tenant=other) == 409
    assert world.put(domains=["example.test"]).status_code == 200
    world.identity.user()
    assert world.verify("example.test") == 409


@pytest.mark.parametrize("domain", ["", "localhost", "*.acme.test", "acme.test/", "-a.test", "äcme.test", "a b.test"])
def test_what_is_no_domain_is_refused(world: World, domain: str) -> None:
    assert world.put(domains=[domain]).status_code == 422


def test_where_only_the_provider_counts_no_password_is_looked_at(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.parts.users.create(User("usr_old", world.tenant.id, EMAIL, "Ada", ("editor",)), PASSWORD)
    browser = world.identity.browser()
    page = browser.sign_in(browser.open("/account/sign-in"), EMAIL, PASSWORD)
    assert world.who(browser) is not None
    assert world.put(federationOnly=True).status_code == 200
    monkeypatch.setattr("deeplens.identity.passwords.matches", lambda *_: pytest.fail("looked at the password"))
    browser = world.identity.browser()
    page = browser.sign_in(browser.open("/account/sign-in"), EMAIL.upper(), PASSWORD)
    assert world.provider.issuer in page.text
    assert world.who(browser) is None


def test_without_an_address_the_tenant_of_the_client_names_the_provider(world: World) -> None:
    app, browser = world.identity.client(tenant_id=world.tenant.id), world.identity.browser()
    assert world.begin(browser, email="", goal=world.identity.request(app)).startswith(
        f"{world.provider.issuer}/authorize?"
    )


# Administrators


def test_only_an_administrator_of_the_tenant_with_every_scope_sets_its_provider(
    world: World, new_tenant: NewTenant
) -> None:
    other = new_tenant()
    path = f"/v1/admin/tenants/{world.tenant.id}/identity-provider"
    for key, status in ((world.key(other), 404), (world.key(world.tenant, ADMIN), 403)):
        assert world.put(key=key).status_code == status
        assert world.admin.delete(path, headers=key).status_code == status
        assert world.admin.post(f"{path}/domains/acme.test/verify", headers=key).status_code == status
    assert world.admin.get(path, headers=world.key(other)).status_code == 404
    assert world.admin.delete(path, headers=world.key(world.tenant)).status_code == 204
    assert world.admin.get(path, headers=world.key(world.tenant)).status_code == 404


def test_the_clients_secret_is_in_the_secret_store_alone(world: World, connections: Connections) -> None:
    path = f"/v1/admin/tenants/{world.tenant.id}/identity-provider"
    answer = world.admin.get(path, headers=world.key(world.tenant))
    assert answer.json()["redirectUri"] == CALLBACK
    with connections.platform() as connection:
        rows = [
            connection.execute(f"SELECT * FROM {table}".encode()).fetchall()
            for table in ("nextgen_identity.identity_providers", "audit_log")
        ]
    for text in (answer.text, world.put().text, str(rows)):
        assert "the provider's secret" not in text
    assert world.put(clientSecret=None).status_code == 200
    assert world.sign_in().status_code == 303
