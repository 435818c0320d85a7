"""A tenant's client signs in users of that tenant only, whatever its administrator registered."""

from html import unescape

import pytest
from deeplens.access.scopes import ADMIN

from tests.e2e.identity.conftest import CALLBACK, PASSWORD, App, World
from tests.harness.browser import Browser, query_of
from tests.harness.refusals import refused


@pytest.fixture
def tempting(world: World) -> App:
    """A client of the tenant that would get tokens without a word, if its tenant's administrator could decide it."""
    return world.app(needs_consent=False)


@pytest.fixture
def operator(world: World) -> str:
    return world.user("platform_admin", tenant_id=None)


def signed_in(world: World, email: str) -> Browser:
    browser = world.browser()
    browser.sign_in(browser.open("/account/sign-in"), email, PASSWORD)
    return browser


def move(world: World, table: str, column: str, value: str, tenant_id: str | None) -> None:
    statement = f"UPDATE nextgen_identity.{table} SET tenant_id = %s WHERE {column} = %s"
    with world.parts.connections.platform() as connection:
        connection.execute(statement, [tenant_id, value])  # type: ignore[call-overload]


def test_a_signed_in_operator_gives_no_code_to_a_tenants_client(world: World, tempting: App, operator: str) -> None:
    page = signed_in(world, operator).open(tempting.request(scope=f"openid offline_access {ADMIN}"))
    assert (page.status_code, page.is_redirect) == (403, False)
    assert operator in page.text
    assert "is not for this account" in page.text


def test_an_operator_is_refused_after_signing_in_for_a_tenants_client(
    world: World, tempting: App, operator: str
) -> None:
    browser = world.browser()
    page = browser.sign_in(browser.open(tempting.request()), operator, PASSWORD)
    assert (page.status_code, page.is_redirect) == (403, False)


def test_a_silent_request_does_not_learn_that_somebody_else_is_signed_in(
    world: World, tempting: App, operator: str
) -> None:
    answer = query_of(signed_in(world, operator).open(tempting.request(prompt="none")).headers["location"])
    assert answer["error"] == "login_required"
    assert "code" not in answer


def test_a_user_of_another_tenant_is_refused_and_can_change_the_account(world: World, tempting: App) -> None:
    world.parts.provisioning.provision("tenant_stranger", "Stranger", "nfs")
    stranger, member = world.user(tenant_id="tenant_stranger"), world.user()
    browser = signed_in(world, stranger)
    page = browser.open(tempting.request())
    assert page.status_code == 403
    link = unescape(page.text.partition('<a href="')[2].partition('"')[0])
    answer = browser.sign_in(browser.open(link), member, PASSWORD)
    assert "code" in query_of(answer.headers["location"])


def test_consent_of_a_user_who_left_the_tenant_is_not_taken(world: World) -> None:
    app, browser, email = world.app(), world.browser(), world.user()
    page = browser.sign_in(browser.open(app.request()), email, PASSWORD)
    assert "Allow Photo shop?" in page.text
    move(world, "users", "email", email, None)
    answer = browser.submit(page, decision="allow")
    assert (answer.status_code, answer.is_redirect) == (403, False)


def test_a_code_of_a_user_who_left_the_tenant_gives_no_tokens(world: World) -> None:
    app, email = world.app(), world.user()
    code = world.code(app, email)
    move(world, "users", "email", email, None)
    assert refused(app.redeem(code), "invalid_grant")


def test_a_refresh_token_of_a_user_who_left_the_tenant_ends(world: World) -> None:
    app, email = world.app(), world.user()
    tokens = world.tokens(app, email)
    move(world, "users", "email", email, None)
    assert refused(app.refresh(tokens["refresh_token"]), "invalid_grant")
    move(world, "users", "email", email, world.tenant_id)
    assert refused(app.refresh(tokens["refresh_token"]), "invalid_grant")
    assert app.userinfo(tokens["access_token"]).status_code == 401


def test_tokens_that_a_tenants_client_collected_before_are_not_renewed(world: World, operator: str) -> None:
    """The attack as it was: the operator's refresh token lies with the tenant's client."""
    app = world.app(tenant_id=None)
    tokens = world.tokens(app, operator, scope=f"openid offline_access {ADMIN}")
    move(world, "clients", "id", app.client.id, world.tenant_id)
    assert refused(app.refresh(tokens["refresh_token"]), "invalid_grant")


def test_a_client_of_the_platform_signs_in_everybody(world: World, operator: str) -> None:
    app = world.app(tenant_id=None)
    for email in (operator, world.user()):
        assert "access_token" in world.tokens(app, email)


def test_the_consent_page_names_the_organisation_and_where_the_answer_goes(world: World) -> None:
    browser = world.browser()
    page = browser.sign_in(browser.open(world.app().request()), world.user(), PASSWORD)
    for shown in ("Photo shop", world.parts.tenants.get(world.tenant_id).name, CALLBACK.split("/")[2]):
        assert shown in page.text
