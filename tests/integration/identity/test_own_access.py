"""People see and end their sessions and applications, and nobody else's; administrators do so for their users."""

import re
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import httpx
import pytest
from alembic import command
from deeplens.access.scopes import ADMIN, READ
from deeplens.bootstrap.admin_api import create_admin_app
from deeplens.database import migrate
from deeplens.database.connections import Connections, connect
from deeplens.database.credentials import database_url
from deeplens.identity.model import AccountChange, Client, User
from deeplens.provisioning import provision
from starlette.testclient import TestClient

from tests.harness.applications import application
from tests.harness.identity import PASSWORD, IdentityApi, InProcess
from tests.integration.conftest import NewTenant

FIREFOX = "Mozilla/5.0 (Windows NT 10.0; rv:140.0) Gecko/20100101 Firefox/140.0"
MINUTE = timedelta(minutes=1)


class MovableClock:
    def __init__(self) -> None:
        self.time = datetime.now(UTC)

    def now(self) -> datetime:
        return self.time


def signed_in(identity: IdentityApi, user: User, user_agent: str = FIREFOX) -> InProcess:
    browser = identity.browser()
    browser.http.headers["User-Agent"] = user_agent
    browser.sign_in(browser.open("/account/sign-in"), user.email, PASSWORD)
    return browser


def post(browser: InProcess, path: str, **fields: str) -> httpx.Response:
    """Send one of the forms of a page."""
    secret = re.search(r'name="form_secret" value="([^"]+)"', browser.open("/account/sessions").text)
    # A page without another session has no form, but the cookie.
    sent = {"form_secret": secret[1] if secret else browser.cookie("deeplens-form") or ""} | fields
    return browser.http.post(path, data=sent)


def is_signed_in(browser: InProcess) -> bool:
    return "Your account" in browser.open("/account").text


def session_ids(browser: InProcess) -> list[str]:
    return re.findall(r'name="session" value="([^"]+)"', browser.open("/account/sessions").text)


def tokens(identity: IdentityApi, browser: InProcess, client: Client) -> dict[str, Any]:
    return identity.redeem(client, browser.answer(identity.request(client), "", PASSWORD))


def refresh(identity: IdentityApi, client: Client, given: dict[str, Any]) -> httpx.Response:
    return identity.ask_token(client, grant_type="refresh_token", refresh_token=given["refresh_token"])


@pytest.fixture
def clock(identity: IdentityApi) -> MovableClock:
    clock = MovableClock()
    vars(identity.container)["clock"] = clock
    return clock


def test_a_session_ends_half_an_hour_after_the_last_visit(identity: IdentityApi, clock: MovableClock) -> None:
    browser = signed_in(identity, identity.user())
    for _ in range(3):
        clock.time += 29 * MINUTE
        assert is_signed_in(browser)
    clock.time += 30 * MINUTE
    assert not is_signed_in(browser)
    clock.time -= 30 * MINUTE
    assert not is_signed_in(browser), "it was closed, not only hidden"


def test_a_session_ends_twelve_hours_after_the_sign_in(identity: IdentityApi, clock: MovableClock) -> None:
    browser = signed_in(identity, identity.user())
    for _ in range(12 * 3 - 1):
        clock.time += 20 * MINUTE
        assert is_signed_in(browser)
    clock.time += 20 * MINUTE
    assert not is_signed_in(browser)


def test_shorter_limits_are_a_setting(connections: Connections) -> None:
    identity = IdentityApi(connections, session_idle_minutes=5, session_hours=1)
    clock = MovableClock()
    vars(identity.container)["clock"] = clock
    browser = signed_in(identity, identity.user())
    clock.time += 5 * MINUTE
    assert not is_signed_in(browser)


def test_a_thiefs_session_ends_with_its_tokens_and_codes(identity: IdentityApi) -> None:
    user, client = identity.user(), identity.client()
    own, thief = signed_in(identity, user), signed_in(identity, user, "curl/8.5.0")
    kept, stolen = tokens(identity, own, client), tokens(identity, thief, client)
    code = thief.open(identity.request(client)).headers["location"]
    page = own.open("/account/sessions").text
    assert "Firefox on Windows" in page
    assert "curl" in page
    assert "testclient" in page
    (session,) = session_ids(own)
    assert "The session has ended." in post(own, "/account/sessions", session=session).text
    assert not is_signed_in(thief)
    assert refresh(identity, client, stolen).json()["error"] == "invalid_grant"
    assert identity.token_error(client, **identity.code_form(client, code)) == "invalid_grant"
    assert is_signed_in(own)
    assert refresh(identity, client, kept).status_code == 200


def test_all_other_sessions_end_at_once(identity: IdentityApi) -> None:
    user, client = identity.user(), identity.client()
    own, others = signed_in(identity, user), [signed_in(identity, user) for _ in range(2)]
    stranger = signed_in(identity, identity.user())
    kept, lost = tokens(identity, own, client), [tokens(identity, other, client) for other in others]
    assert "All other sessions have ended." in post(own, "/account/sessions", others="1").text
    assert [is_signed_in(browser) for browser in (own, *others, stranger)] == [True, False, False, True]
    assert [refresh(identity, client, given).status_code for given in (kept, *lost)] == [200, 400, 400]


def test_a_new_password_ends_codes_that_are_not_redeemed(identity: IdentityApi) -> None:
    user, client = identity.user(), identity.client()
    location = identity.granted(client, user)
    change = AccountChange(None, None, "another long passphrase", None)
    identity.container.users.change(None, user.id, change, datetime.now(UTC))
    assert identity.token_error(client, **identity.code_form(client, location)) == "invalid_grant"


def test_nobody_ends_anothers_session_or_access(identity: IdentityApi) -> None:
    victim, attacker, client = identity.user(), identity.user(), identity.client()
    browser, other = signed_in(identity, victim), signed_in(identity, victim)
    given = tokens(identity, browser, client)
    (named,) = session_ids(other)
    hostile = signed_in(identity, attacker)
    signed_in(identity, attacker)
    assert named not in hostile.open("/account/sessions").text
    post(hostile, "/account/sessions", session=named)
    post(hostile, "/account/sessions", others="1")
    post(hostile, "/account/applications", client=client.id)
    assert is_signed_in(browser)
    assert refresh(identity, client, given).status_code == 200


@pytest.mark.parametrize(
    ("path", "field"), [("sessions", "session"), ("sessions", "others"), ("applications", "client")]
)
def test_a_form_of_another_site_ends_nothing(identity: IdentityApi, path: str, field: str) -> None:
    user, client = identity.user(), identity.client()
    own, other = signed_in(identity, user), signed_in(identity, user)
    given = tokens(identity, other, client)
    (session,) = session_ids(own)
    value = {"session": session, "others": "1", "client": client.id}[field]
    answer = own.http.post(f"/account/{path}", data={field: value})
    assert answer.status_code == 400
    assert "open for too long" in answer.text
    assert is_signed_in(other)
    assert refresh(identity, client, given).status_code == 200


def test_an_applications_access_is_taken_away(identity: IdentityApi) -> None:
    user, client = identity.user(), identity.client()
    own, other = signed_in(identity, user), identity.user()
    given, of_other = tokens(identity, own, client), tokens(identity, signed_in(identity, other), client)
    page = own.open("/account/applications").text
    assert "Photo shop" in page
    assert "Connected" in page
    assert "see and search your organisation&#39;s images" in page
    assert "no longer has access" in post(own, "/account/applications", client=client.id).text
    assert refresh(identity, client, given).json()["error"] == "invalid_grant"
    assert "Allow Photo shop?" in own.open(identity.request(client)).text
    assert refresh(identity, client, of_other).status_code == 200
    assert "No application has access" in own.open("/account/applications").text


def test_what_a_browser_says_of_itself_is_text(identity: IdentityApi) -> None:
    user = identity.user()
    signed_in(identity, user, "<script>alert(1)</script> Firefox" + "x" * 10_000)
    page = signed_in(identity, user).open("/account/sessions")
    assert page.status_code == 200
    assert "<script" not in page.text


def test_sessions_are_opened_before_the_migration(platform_url: str) -> None:
    url = database_url(platform_url, "deeplens_before_visits")
    provision.create_database(platform_url, "deeplens_before_visits")
    config = migrate._config("platform")
    config.output_buffer = StringIO()
    command.upgrade(config, "base:0024", sql=True)
    with connect(url) as connection:
        connection.execute(config.output_buffer.getvalue().encode())
    connections = Connections(url)
    identity = IdentityApi(connections)
    clock = MovableClock()
    vars(identity.container)["clock"] = clock
    browser = signed_in(identity, identity.user())
    clock.time += timedelta(hours=11)
    assert is_signed_in(browser)
    assert "This browser" in browser.open("/account/sessions").text
    clock.time += timedelta(hours=1)
    assert not is_signed_in(browser)
    connections.close()


# Administrators.


class Admins:
    """The Admin API, for callers of the platform and of two tenants."""

    def __init__(self, identity: IdentityApi, new_tenant: NewTenant) -> None:
        self.http, keys = TestClient(application(create_admin_app, identity.container)), identity.container.api_keys
        self.tenant, self.other = new_tenant().id, new_tenant().id
        self.keys = {
            "operator": keys.create(None, "operator", [ADMIN]),
            "own": keys.create(self.tenant, "own", [ADMIN]),
            "other": keys.create(self.other, "other", [ADMIN]),
            "reader": keys.create(self.tenant, "reader", [READ]),
        }

    def ask(self, caller: str, method: str, path: str) -> httpx.Response:
        return self.http.request(method, f"/v1/admin{path}", headers={"X-API-Key": self.keys[caller]})


@pytest.fixture
def admins(identity: IdentityApi, new_tenant: NewTenant) -> Admins:
    return Admins(identity, new_tenant)


ROUTES = [
    ("GET", "/sessions"),
    ("DELETE", "/sessions"),
    ("DELETE", "/sessions/{session}"),
    ("GET", "/applications"),
    ("DELETE", "/applications/{client}"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_administrators_reach_their_own_users_only(
    identity: IdentityApi, admins: Admins, method: str, path: str
) -> None:
    user, client = identity.user("editor", tenant_id=admins.tenant), identity.client()
    browser = signed_in(identity, user)
    given = tokens(identity, browser, client)
    (session,) = admins.ask("own", "GET", f"/tenants/{admins.tenant}/users/{user.id}/sessions").json()["sessions"]
    path = f"/users/{user.id}" + path.format(session=session["sessionId"], client=client.id)
    refused = [
        ("other", f"/tenants/{admins.tenant}", (403, 404)),
        ("other", f"/tenants/{admins.other}", (404,)),
        ("other", "", (403,)),
        ("own", "", (403,)),
        ("reader", f"/tenants/{admins.tenant}", (403,)),
        ("operator", "", (404,)),
        ("operator", f"/tenants/{admins.other}", (404,)),
    ]
    for caller, prefix, statuses in refused:
        assert admins.ask(caller, method, prefix + path).status_code in statuses, (caller, prefix)
    assert is_signed_in(browser)
    given = refresh(identity, client, given).json()
    assert admins.ask("own", method, f"/tenants/{admins.tenant}{path}").status_code == (200 if method == "GET" else 204)
    if method == "DELETE":
        assert refresh(identity, client, given).json()["error"] == "invalid_grant"
        assert is_signed_in(browser) is ("applications" in path)
        again = admins.ask("operator", method, f"/tenants/{admins.tenant}{path}").status_code
        assert again == (204 if path.endswith("/sessions") else 404)


def test_administrators_see_where_a_user_is_signed_in(identity: IdentityApi, admins: Admins) -> None:
    user, client = identity.user("editor", tenant_id=admins.tenant), identity.client()
    tokens(identity, signed_in(identity, user), client)
    users = f"/tenants/{admins.tenant}/users/{user.id}"
    (session,) = admins.ask("own", "GET", f"{users}/sessions").json()["sessions"]
    assert session["device"] == "Firefox on Windows"
    assert session["networkAddress"] == "testclient"
    assert session["methods"] == ["pwd"]
    (application,) = admins.ask("own", "GET", f"{users}/applications").json()["applications"]
    assert (application["clientId"], application["connected"]) == (client.id, True)
    assert admins.ask("own", "GET", f"/tenants/{admins.tenant}/users/usr_nobody/sessions").status_code == 404


def test_ending_is_logged(identity: IdentityApi, caplog: pytest.LogCaptureFixture) -> None:
    user, client = identity.user(), identity.client()
    own, other = signed_in(identity, user), signed_in(identity, user)
    tokens(identity, other, client)
    caplog.clear()
    post(own, "/account/sessions", others="1")
    post(own, "/account/applications", client=client.id)
    events = [vars(record)["security_event"] for record in caplog.records if record.getMessage() == "security event"]
    assert events == ["session_ended", "token_family_revoked", "consent_withdrawn"]
