"""Sign-in with an organisation's own provider: a real second Identity API, and whose accounts it reaches."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jwt
import pytest
import uvicorn
from deeplens.access.scopes import ADMIN
from deeplens.database.connections import Connections
from deeplens.database.credentials import database_url
from deeplens.identity.model import User
from deeplens.provisioning.provision import create_database
from deeplens.tenants.model import Tenant
from fastapi import FastAPI

from local.operations import migrations
from tests.harness.browser import Browser, form_of
from tests.harness.federated_identity import CALLBACK, EMAIL, FederatedIdentity, federated_identity, refused
from tests.harness.identity import PASSWORD, SECRET, IdentityApi
from tests.integration.conftest import NewTenant


@pytest.fixture
def world(identity: IdentityApi, tenant: Tenant, connections: Connections) -> Iterator[FederatedIdentity]:
    with federated_identity(identity, tenant, connections) as world:
        yield world


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
    world: FederatedIdentity, real_provider: IdentityApi, connections: Connections
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


def test_a_provider_at_a_private_address_is_refused(world: FederatedIdentity, real_provider: IdentityApi) -> None:
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


# Whose accounts


def test_a_provider_signs_in_nobody_of_another_tenant_or_of_the_platform(
    world: FederatedIdentity, new_tenant: NewTenant
) -> None:
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
    world: FederatedIdentity, new_tenant: NewTenant, connections: Connections
) -> None:
    assert world.sign_in().status_code == 303
    with connections.platform() as connection:
        connection.execute(
            "UPDATE nextgen_identity.users SET tenant_id = %s WHERE email = %s", [new_tenant().id, EMAIL]
        )
    browser = world.identity.browser()
    refused(world, browser, world.sign_in(browser))


def test_an_account_with_a_password_of_the_same_tenant_is_linked_and_keeps_its_roles(world: FederatedIdentity) -> None:
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
    world: FederatedIdentity, groups: Any, roles: tuple[str, ...]
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
def test_no_mapping_names_a_role_of_the_platform(world: FederatedIdentity, role: str) -> None:
    assert world.put(rolesClaim="groups", roles={"admins": role}).status_code == 422
    assert world.put(defaultRole=role).status_code == 422


def test_disabled_users_and_suspended_tenants_stay_out(world: FederatedIdentity, connections: Connections) -> None:
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


def test_only_a_verified_domain_is_federated(world: FederatedIdentity) -> None:
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
    world: FederatedIdentity, new_tenant: NewTenant
) -> None:
    other = new_tenant()
    assert world.put(other).status_code == 200
    assert world.verify(tenant=other) == 409
    assert world.put(domains=["example.test"]).status_code == 200
    world.identity.user()
    assert world.verify("example.test") == 409


@pytest.mark.parametrize("domain", ["", "localhost", "*.acme.test", "acme.test/", "-a.test", "äcme.test", "a b.test"])
def test_what_is_no_domain_is_refused(world: FederatedIdentity, domain: str) -> None:
    assert world.put(domains=[domain]).status_code == 422


def test_where_only_the_provider_counts_no_password_is_looked_at(
    world: FederatedIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_without_an_address_the_tenant_of_the_client_names_the_provider(world: FederatedIdentity) -> None:
    app, browser = world.identity.client(tenant_id=world.tenant.id), world.identity.browser()
    assert world.begin(browser, email="", goal=world.identity.request(app)).startswith(
        f"{world.provider.issuer}/authorize?"
    )


# Administrators


def test_only_an_administrator_of_the_tenant_with_every_scope_sets_its_provider(
    world: FederatedIdentity, new_tenant: NewTenant
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


def test_the_clients_secret_is_in_the_secret_store_alone(world: FederatedIdentity, connections: Connections) -> None:
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
