"""Who has to have a second factor sets one up right after the password; administrators reset those that are lost."""

from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from deeplens.access.model import AuditEntry, Principal, SignedIn
from deeplens.access.scopes import ADMIN, API_SCOPES, READ
from deeplens.access.step_up import DANGEROUS
from deeplens.bootstrap.admin_api import create_admin_app
from deeplens.identity.model import User
from deeplens.tenants.model import Tenant
from starlette.testclient import TestClient

from tests.harness.applications import application
from tests.harness.identity import PASSWORD, IdentityApi
from tests.harness.second_factors import AREA, SetClock, enrol, half, press, sign_in, signed_in
from tests.integration.conftest import NewTenant


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def identity(identity: IdentityApi, clock: SetClock) -> IdentityApi:
    vars(identity.container)["clock"] = clock
    return identity


class Audit:
    def __init__(self) -> None:
        self.entries: list[tuple[str, str]] = []

    def append(self, entry: AuditEntry, outcome: str) -> None:
        self.entries.append((entry.action, outcome))


@dataclass
class Admin:
    """The Admin API over the same database; a request names its principal."""

    http: TestClient
    audit: Audit
    principals: dict[str, Principal]

    def request(self, method: str, path: str, principal: Principal, **body: Any) -> Any:
        name = str(id(principal))
        self.principals[name] = principal
        return self.http.request(method, path, headers={"Authorization": f"Bearer {name}"}, **body)


@pytest.fixture
def admin(identity: IdentityApi) -> Admin:
    audit, principals = Audit(), dict[str, Principal]()
    vars(identity.container).update(
        audit=audit, bearer_tokens=SimpleNamespace(authenticate=lambda token, *_: principals.get(token))
    )
    app = application(create_admin_app, identity.container)
    return Admin(TestClient(app, raise_server_exceptions=False), audit, principals)


def machine(tenant_id: str | None, *scopes: str) -> Principal:
    return Principal(tenant_id, "key:abc", frozenset(scopes or API_SCOPES))


def in_production(identity: IdentityApi) -> None:
    for name in ("environment", "second_factor_policy"):
        vars(identity.container).pop(name, None)
    vars(identity.container)["environment"] = "production"
    identity.container.development_credentials._checked = True


def test_platform_administrators_enrol_right_after_the_password_in_production(
    identity: IdentityApi, clock: SetClock
) -> None:
    user, before, client = identity.user(), identity.browser(), identity.client(needs_consent=False)
    tokens = identity.redeem(client, before.answer(identity.request(client), user.email, PASSWORD))
    assert signed_in(before)
    in_production(identity)
    assert not signed_in(before)
    again = identity.ask_token(client, grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert again.status_code == 400

    browser = identity.browser()
    page = sign_in(browser, user, identity.request(client))
    assert "Set up a second factor" in page.text
    assert browser.cookie("deeplens-session") is None
    assert "Email address" in browser.open(identity.request(client)).text
    assert "Email address" in browser.open(AREA).text
    enrol(browser, clock, browser.open(f"{AREA}/authenticator"))
    answer = browser.open(identity.request(client))
    assert identity.claims(identity.redeem(client, answer.headers["location"])["access_token"])["acr"] == "aal2"
    assert "A second factor is required" in press(browser, "remove-authenticator").text
    assert identity.container.second_factors.of(user.id).authenticator


def test_the_local_stack_needs_none(identity: IdentityApi) -> None:
    browser = identity.browser()
    sign_in(browser, identity.user())
    assert signed_in(browser)


def test_a_tenant_requires_it_of_its_own_users_only(
    identity: IdentityApi, admin: Admin, new_tenant: NewTenant, clock: SetClock
) -> None:
    strict, lax = new_tenant(), new_tenant()
    here, there = identity.user("viewer", tenant_id=strict.id), identity.user("viewer", tenant_id=lax.id)
    browser = identity.browser()
    sign_in(browser, here)
    assert signed_in(browser)
    path = f"/v1/admin/tenants/{strict.id}/sign-in-policy"
    for foreign in (machine(lax.id), machine(strict.id, READ)):
        assert admin.request("PUT", path, foreign, json={"requireSecondFactor": True}).status_code in (403, 404)
    assert admin.request("GET", path, machine(strict.id)).json() == {"requireSecondFactor": False}
    answer = admin.request("PUT", path, machine(strict.id), json={"requireSecondFactor": True})
    assert answer.json() == {"requireSecondFactor": True}
    assert admin.audit.entries[-1] == ("PUT /v1/admin/tenants/{tenant_id}/sign-in-policy", "done")
    assert not signed_in(browser)
    assert "Set up a second factor" in sign_in(browser, here).text
    other = identity.browser()
    sign_in(other, there)
    assert signed_in(other)


@pytest.fixture
def tenants(new_tenant: NewTenant) -> tuple[Tenant, Tenant]:
    return new_tenant(), new_tenant()


def with_app(identity: IdentityApi, clock: SetClock, *roles: str, tenant_id: str | None) -> User:
    user, browser = identity.user(*roles, tenant_id=tenant_id), identity.browser()
    sign_in(browser, user)
    enrol(browser, clock, press(browser, "authenticator"))
    return user


def test_an_administrator_resets_the_factors_of_somebody_who_lost_them(
    identity: IdentityApi, admin: Admin, clock: SetClock, tenants: tuple[Tenant, Tenant]
) -> None:
    tenant = tenants[0].id
    user = with_app(identity, clock, "editor", tenant_id=tenant)
    browser, path = half(identity, user)[0], f"/v1/admin/tenants/{tenant}/users/{user.id}/second-factors"
    shown = {"authenticator": True, "passkeys": 0, "recoveryCodes": 10}
    assert admin.request("GET", path, machine(tenant)).json() == shown
    assert admin.request("DELETE", path, machine(tenant)).status_code == 204
    assert admin.audit.entries[-1] == (
        "DELETE /v1/admin/tenants/{tenant_id}/users/{user_id}/second-factors",
        "done",
    )
    assert not identity.container.second_factors.of(user.id).any
    # What was half done ended: it must not set up a new factor.
    assert "Email address" in browser.open(f"{AREA}/authenticator").text
    assert "Second step" not in sign_in(identity.browser(), user).text


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_nobody_reaches_the_factors_of_others_users(
    identity: IdentityApi, admin: Admin, clock: SetClock, tenants: tuple[Tenant, Tenant], method: str
) -> None:
    own, foreign = tenants
    user = with_app(identity, clock, "viewer", tenant_id=foreign.id)
    operator = with_app(identity, clock, tenant_id=None)
    for path, principal, status in (
        (f"tenants/{foreign.id}/users/{user.id}", machine(own.id), 404),
        (f"tenants/{own.id}/users/{user.id}", machine(own.id), 404),
        (f"tenants/{own.id}/users/{operator.id}", machine(own.id), 404),
        (f"users/{operator.id}", machine(own.id), 403),
        (f"users/{user.id}", machine(None), 404),
        (f"tenants/{foreign.id}/users/{user.id}", machine(foreign.id, READ), 403),
    ):
        assert admin.request(method, f"/v1/admin/{path}/second-factors", principal).status_code == status, path
    assert identity.container.second_factors.of(user.id).authenticator
    assert identity.container.second_factors.of(operator.id).authenticator


def test_nobody_resets_a_stronger_users_factors(
    identity: IdentityApi, admin: Admin, clock: SetClock, tenants: tuple[Tenant, Tenant]
) -> None:
    tenant = tenants[0].id
    user = with_app(identity, clock, "tenant_admin", tenant_id=tenant)
    path = f"/v1/admin/tenants/{tenant}/users/{user.id}/second-factors"
    assert admin.request("DELETE", path, machine(tenant, ADMIN)).status_code == 403
    assert identity.container.second_factors.of(user.id).authenticator


BODIES: dict[tuple[str, str], list[Any]] = {
    ("POST", "keys"): [{"name": "K", "scopes": [ADMIN]}, {"name": "K", "scopes": [READ, ADMIN]}],
    ("POST", "users"): [
        {"email": "stepped-up@example.test", "name": "X", "roles": [role], "password": "words that nobody guesses"}
        for role in ("tenant_admin", "platform_admin")
    ],
    ("PATCH", "{user_id}"): [{"roles": ["viewer"]}, {"password": "words that nobody guesses"}, {"status": "active"}],
    ("POST", "clients"): [{"name": "C", "grants": ["client_credentials"], "scopes": [ADMIN]}],
    ("PUT", "sign-in-policy"): [{"requireSecondFactor": False}],
}
HARMLESS: dict[tuple[str, str], list[Any]] = {
    ("POST", "keys"): [{"name": "K"}, {"name": "K", "scopes": [READ]}],
    ("POST", "users"): [{"email": "weak@example.test", "name": "Y", "roles": ["viewer"], "password": "short"}],
    ("PATCH", "{user_id}"): [{"status": "disabled"}],
    ("POST", "clients"): [{"name": "C", "grants": ["client_credentials"], "scopes": [READ]}],
}
REQUESTS = [
    (method, route, body)
    for method, route in DANGEROUS
    for body in BODIES.get((method, route.rpartition("/")[2]), [None])
]


def call(admin: Admin, principal: Principal, method: str, route: str, tenant: str, body: Any) -> Any:
    path = route.format(
        tenant_id=tenant,
        prefix="0f3a9b1c2d4e",
        user_id="usr_none",
        client_id="cli_none",
        session_id="ses_none",
        kid="none",
        domain="acme.test",
    )
    return admin.request(method, path, principal, json=body)


@pytest.fixture
def operator(identity: IdentityApi, clock: SetClock) -> User:
    return with_app(identity, clock, tenant_id=None)


@pytest.mark.parametrize(("method", "route", "body"), REQUESTS)
def test_a_dangerous_route_needs_a_recent_and_strong_sign_in(
    identity: IdentityApi, admin: Admin, operator: User, clock: SetClock, method: str, route: str, body: Any
) -> None:
    def signed_in_so(minutes: int, acr: str) -> Principal:
        at = SignedIn(clock.now() - timedelta(minutes=minutes), acr)
        return Principal(None, operator.id, frozenset(API_SCOPES), signed_in=at)

    for weak in (signed_in_so(11, "aal2"), signed_in_so(0, "aal1"), signed_in_so(0, "")):
        answer = call(admin, weak, method, route, "tenant_none", body)
        assert (answer.status_code, answer.json()["type"]) == (401, "/problems/step-up-required")
        challenge = answer.headers["www-authenticate"]
        for part in ('error="insufficient_user_authentication"', 'acr_values="aal2"', 'max_age="600"'):
            assert part in challenge
    assert admin.audit.entries[-1][1] == "step-up-required"
    for strong in (signed_in_so(9, "aal2"), machine(None)):
        assert call(admin, strong, method, route, "tenant_none", body).status_code != 401


@pytest.mark.parametrize("raw", [b"[]", b'{"scopes": "deeplens.api.admin"}', '{"scopes": []}'.encode("utf-16")])
def test_a_body_that_cannot_be_read_counts_as_dangerous(
    admin: Admin, operator: User, clock: SetClock, raw: bytes
) -> None:
    weak = Principal(None, operator.id, frozenset(API_SCOPES), signed_in=SignedIn(clock.now(), "aal1"))
    admin.principals["weak"] = weak
    headers = {"Authorization": "Bearer weak", "Content-Type": "application/json"}
    answer = admin.http.post("/v1/admin/tenants/tenant_none/keys", content=raw, headers=headers)
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("method", "route", "body"),
    [(method, route, body) for method, route in DANGEROUS for body in HARMLESS.get((method, route.split("/")[-1]), [])],
)
def test_a_harmless_use_of_the_same_route_needs_none(
    admin: Admin, operator: User, clock: SetClock, method: str, route: str, body: Any
) -> None:
    weak = Principal(None, operator.id, frozenset(API_SCOPES), signed_in=SignedIn(clock.now(), "aal1"))
    assert call(admin, weak, method, route, "tenant_none", body).status_code != 401


def test_who_has_no_factor_and_needs_none_is_not_asked(identity: IdentityApi, admin: Admin, clock: SetClock) -> None:
    user = identity.user()
    weak = Principal(None, user.id, frozenset(API_SCOPES), signed_in=SignedIn(clock.now(), "aal1"))
    assert admin.request("DELETE", "/v1/admin/tenants/tenant_none", weak).status_code == 404
    in_production(identity)
    assert admin.request("DELETE", "/v1/admin/tenants/tenant_none", weak).status_code == 401


def test_the_table_names_routes_that_exist(admin: Admin) -> None:
    paths = admin.http.app.openapi()["paths"]  # type: ignore[attr-defined]
    assert [(method, path) for method, path in DANGEROUS if method.lower() not in paths.get(path, {})] == []
