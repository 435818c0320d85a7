"""A tenant with a provider of its own, and browsers that sign in with it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from typing import Any
from urllib.parse import urlencode

import httpx
from deeplens.access.scopes import API_SCOPES
from deeplens.bootstrap.admin_api import create_admin_app
from deeplens.database.connections import Connections
from deeplens.identity.model import User
from deeplens.tenants.model import Tenant
from starlette.testclient import TestClient

from tests.fakes.federation import CLIENT_ID, FakeProvider, FakeTxtRecords
from tests.harness.applications import application
from tests.harness.browser import Browser, form_of, query_of
from tests.harness.identity import ISSUER, IdentityApi

CALLBACK = f"{ISSUER}/account/federation/callback"
EMAIL = "ada@acme.test"
LINK = re.compile(r'<main>.*?href="([^"]+)"', re.DOTALL)


class FederatedIdentity:
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


@contextmanager
def federated_identity(identity: IdentityApi, tenant: Tenant, connections: Connections) -> Iterator[FederatedIdentity]:
    """With a provider whose answers a test may forge, and a verified domain."""
    with connections.platform() as connection:
        connection.execute("DELETE FROM nextgen_identity.signing_keys")
    world = FederatedIdentity(identity, tenant, FakeProvider())
    assert world.put().status_code == 200
    assert world.verify() == 200
    yield world
    with connections.platform() as connection:
        connection.execute("DELETE FROM nextgen_identity.identity_providers")
        connection.execute("DELETE FROM nextgen_identity.users WHERE email LIKE '%@acme.test'")


def refused(world: FederatedIdentity, browser: Browser, answer: httpx.Response) -> None:
    assert answer.status_code == 400, answer.headers
    assert "was not accepted" in answer.text
    assert world.who(browser) is None
