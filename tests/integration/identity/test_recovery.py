"""Pages and routes of account recovery under attack: by tokens, by headers, and by what answers reveal."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from deeplens.access.scopes import ADMIN, API_SCOPES
from deeplens.database.connections import Connections

from tests.harness.browser import form_of, query_of
from tests.harness.identity import ISSUER, PASSWORD
from tests.harness.mailed_identity import LINK, MailedIdentity, mailed_identity
from tests.integration.conftest import NewTenant

NEW_PASSWORD = "violet lantern harbour"


@pytest.fixture
def world(connections: Connections) -> Iterator[MailedIdentity]:
    with mailed_identity(connections) as world:
        yield world


def without_secrets(answer: httpx.Response, email: str) -> str:
    """A page without what differs anyhow: the address that was typed, and the secret of its form."""
    return answer.text.replace(email, "ADDRESS").replace(form_of(answer).fields["form_secret"], "SECRET")


def test_a_person_sets_a_new_password_by_mail_and_every_session_ends(world: MailedIdentity) -> None:
    user, client = world.user(), world.client()
    thief = world.browser()
    thief.sign_in(thief.open("/account/sign-in"), user.email, PASSWORD)
    tokens = world.redeem(client, world.granted(client, user))
    world.mails()
    browser = world.browser()
    assert world.forget(browser, user.email).status_code == 200
    link = world.link()
    done = browser.submit(browser.open(link), password=NEW_PASSWORD)
    assert done.status_code == 200
    assert browser.cookie("deeplens-session") is None
    assert "You are signed in" not in thief.open("/account/sign-in").text
    refresh = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    assert world.token_error(client, **refresh) == "invalid_grant"
    assert (world.signs_in(user.email, PASSWORD), world.signs_in(user.email, NEW_PASSWORD)) == (False, True)
    assert {mail.recipient for mail in world.mails()} == {user.email}


def test_a_request_for_a_link_reveals_no_account(world: MailedIdentity, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither status, nor page, nor headers, nor what is asked of the database."""
    user, asked = world.user(), list[str]()
    execute = psycopg.Connection.execute

    def recorded(self: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(str(query))
        return execute(self, query, *arguments, **options)

    answers = []
    for email in (user.email, "nobody@example.test", user.email.upper(), "no address"):
        browser = world.browser()
        page = browser.open("/account/forgot")
        asked.clear()
        with monkeypatch.context() as patch:
            patch.setattr("psycopg.Connection.execute", recorded)
            answer = browser.submit(page, email=email)
        headers = {name for name in answer.headers if name != "x-request-id"}
        answers.append((answer.status_code, without_secrets(answer, email), headers, tuple(asked)))
    assert answers[0][3]
    assert not [statement for statement in answers[0][3] if "nextgen_identity.users" in statement]
    assert answers == [answers[0]] * 4


def test_a_throttled_request_reveals_no_account(world: MailedIdentity) -> None:
    user, pages = world.user(), []
    for email in (user.email, "nobody@example.test"):
        answers = [world.forget(world.browser(), email) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        pages.append(without_secrets(answers[3], email))
        assert answers[3].headers["retry-after"] == "900"
    assert pages[0] == pages[1]


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"X-Forwarded-Host": "evil.example"}, {"Forwarded": "host=evil.example;proto=https"}],
)
def test_no_header_changes_where_a_link_leads(world: MailedIdentity, headers: dict[str, str]) -> None:
    user = world.user()
    world.forget(world.browser(), user.email, **headers)
    (mail,) = world.mails()
    assert "evil.example" not in mail.text + mail.html
    assert LINK.findall(mail.text)[0].startswith(f"{ISSUER}/account/reset?")


def test_programs_that_open_links_use_up_nothing(world: MailedIdentity) -> None:
    user, browser = world.user(), world.browser()
    world.forget(browser, user.email)
    link = world.link()
    for _ in range(3):
        scanner = world.http()
        assert scanner.get(link).status_code == 200
        assert scanner.head(link).status_code in (200, 405)
    assert browser.submit(browser.open(link), password=NEW_PASSWORD).status_code == 200
    assert world.signs_in(user.email, NEW_PASSWORD)
    again = world.browser().open(link)
    assert (again.status_code, "This link no longer works" in again.text) == (410, True)


def test_a_link_leaks_nothing_to_other_sites_or_caches(world: MailedIdentity) -> None:
    world.forget(world.browser(), world.user().email)
    page = world.browser().open(world.link())
    assert page.headers["referrer-policy"] in ("no-referrer", "same-origin")
    assert page.headers["cache-control"] == "no-store"
    assert not re.findall(r'(?:href|src|action)="(?:https?:)?//', page.text)


def test_of_two_links_only_the_newest_works_and_no_guess(world: MailedIdentity) -> None:
    user, browser = world.user(), world.browser()
    links = []
    for _ in range(2):
        world.forget(world.browser(), user.email)
        links.append(world.link())
    token = query_of(links[1])["token"]
    for wrong in (links[0], links[1][:-1], f"{links[1]}A", links[1].replace(token, ""), links[1].replace(token, "%00")):
        assert world.browser().open(wrong).status_code == 410
    page = browser.open(links[1])
    form = form_of(page)
    stolen = {**form.fields, "token": query_of(links[0])["token"], "password": NEW_PASSWORD}
    assert browser.http.post(form.action, data=stolen).status_code == 410
    assert world.signs_in(user.email, PASSWORD)


@pytest.mark.parametrize("ending", ["password", "disabled", "sign-out", "own sign-out", "factors"])
def test_a_link_ends_when_its_user_is_signed_out(world: MailedIdentity, ending: str) -> None:
    """Whoever asked for it before somebody put an end to their access must not come back by it."""
    user, root = world.user(), world.admin(None, *API_SCOPES)
    world.forget(world.browser(), user.email)
    link, account = world.link(), f"/v1/admin/users/{user.id}"
    assert world.browser().open(link).status_code == 200
    if ending == "password":
        assert root.patch(account, json={"password": NEW_PASSWORD}).status_code == 200
    elif ending == "disabled":
        for status in ("disabled", "active"):
            assert root.patch(account, json={"status": status}).status_code == 200
    elif ending == "sign-out":
        assert root.delete(f"{account}/sessions").status_code == 204
    elif ending == "factors":
        assert root.delete(f"{account}/second-factors").status_code == 204
    else:
        own, other = world.browser(), world.browser()
        for browser in (own, other):
            browser.sign_in(browser.open("/account/sign-in"), user.email, PASSWORD)
        secret = own.cookie("deeplens-form") or ""
        own.open("/account/sessions")
        fields = {"form_secret": own.cookie("deeplens-form") or secret, "others": "1"}
        assert own.http.post("/account/sessions", data=fields).status_code == 200
    assert world.browser().open(link).status_code == 410


def test_another_site_cannot_send_the_forms(world: MailedIdentity) -> None:
    user, browser = world.user(), world.browser()
    world.forget(browser, user.email)
    link = world.link()
    browser.sign_in(browser.open("/account/sign-in"), user.email, PASSWORD)
    for path, page in (("/account/reset", link), ("/account/password", "/account/password"), ("/account/forgot",) * 2):
        fields = {**form_of(browser.open(page)).fields, "email": user.email, "present": PASSWORD}
        fields |= {"password": NEW_PASSWORD}
        answer = browser.http.post(path, data=fields, headers={"Origin": "https://evil.example"})
        assert answer.status_code == 400, path
        answer = browser.http.post(path, data=fields | {"form_secret": "another"}, headers={"Origin": ISSUER})
        assert answer.status_code == 400, path
    assert world.signs_in(user.email, PASSWORD)


def test_a_weak_password_is_explained_and_the_link_stays(world: MailedIdentity) -> None:
    user, browser = world.user(), world.browser()
    world.forget(browser, user.email)
    page = browser.open(world.link())
    refused = browser.submit(page, password="password1234")
    assert (refused.status_code, "easy to guess" in refused.text) == (422, True)
    assert browser.submit(refused, password=NEW_PASSWORD).status_code == 200


def test_a_password_is_rated_for_our_own_pages_only(world: MailedIdentity) -> None:
    browser, path = world.browser(), "/account/password-strength"
    browser.open("/account/sign-in")
    form = {"form_secret": browser.cookie("deeplens-form") or "", "password": "password1234"}
    rated = browser.http.post(path, data=form, headers={"Accept-Language": "de"})
    assert (rated.json()["level"], rated.json()["text"][:17]) == (1, "Leicht zu erraten")
    assert rated.headers["cache-control"] == "no-store"
    strong = browser.http.post(path, data=form | {"password": NEW_PASSWORD})
    assert strong.json()["level"] > 1
    for refused in (
        browser.http.post(path, data=form | {"form_secret": "another"}),
        browser.http.post(path, data=form, headers={"Origin": "https://evil.example"}),
    ):
        assert (refused.status_code, refused.json()) == (400, {})


def test_who_guessed_too_often_signs_in_after_a_reset(world: MailedIdentity) -> None:
    user = world.user()
    for _ in range(6):
        world.signs_in(user.email, "a wrong password")
    browser = world.browser()
    world.forget(browser, user.email)
    browser.submit(browser.open(world.link()), password=NEW_PASSWORD)
    assert world.signs_in(user.email, NEW_PASSWORD)


def test_a_person_changes_their_password_and_stays_signed_in_here_only(world: MailedIdentity) -> None:
    user, client = world.user(), world.client()
    here, elsewhere = world.browser(), world.browser()
    for browser in (here, elsewhere):
        browser.sign_in(browser.open("/account/sign-in"), user.email, PASSWORD)
    own = world.redeem(client, here.answer(world.request(client), user.email, PASSWORD))
    other = world.redeem(client, elsewhere.answer(world.request(client), user.email, PASSWORD))
    done = here.submit(here.open("/account/password"), present=PASSWORD, password=NEW_PASSWORD)
    assert (done.status_code, "Your password is changed" in done.text) == (200, True)
    assert "You are signed in" in here.open("/account/sign-in").text
    assert "You are signed in" not in elsewhere.open("/account/sign-in").text
    grant = {"grant_type": "refresh_token"}
    assert world.token(client, **grant, refresh_token=own["refresh_token"])
    assert world.token_error(client, **grant, refresh_token=other["refresh_token"]) == "invalid_grant"
    assert world.signs_in(user.email, NEW_PASSWORD)
    changed = [mail for mail in world.mails() if "password of your account was changed" in mail.text]
    assert [mail.recipient for mail in changed] == [user.email]


def test_the_password_is_not_changed_without_a_session_or_the_present_one(world: MailedIdentity) -> None:
    user, browser = world.user(), world.browser()
    answer = browser.http.get("/account/password")
    assert (answer.status_code, urlsplit(answer.headers["location"]).path) == (303, "/account/sign-in")
    signed_in = browser.sign_in(browser.open("/account/password"), user.email, PASSWORD)
    assert urlsplit(str(signed_in.url)).path == "/account/password"
    page = browser.open("/account/password")
    statuses = [browser.submit(page, present="a guess", password=NEW_PASSWORD).status_code for _ in range(7)]
    assert statuses == [401] * 5 + [429] * 2
    assert browser.submit(page, present=PASSWORD, password=NEW_PASSWORD).status_code == 429
    assert world.signs_in(user.email, PASSWORD)


def test_a_sign_in_with_a_new_browser_is_told_once(world: MailedIdentity) -> None:
    user, browser = world.user(), world.browser()
    for _ in range(2):
        browser.sign_in(browser.open("/account/sign-in"), user.email, PASSWORD)
        browser.submit(browser.open("/connect/endsession"))
    (mail,) = world.mails()
    assert (mail.recipient, mail.subject) == (user.email, "A sign-in with a new browser")


def invitation(email: str, **more: Any) -> dict[str, Any]:
    return {"email": email, "name": "Ada", "roles": ["editor"], **more}


def test_an_administrator_learns_nothing_of_accounts_elsewhere(world: MailedIdentity, new_tenant: NewTenant) -> None:
    """Neither by inviting, nor by a password, nor by lists, nor by a change."""
    tenant, other = new_tenant(), new_tenant()
    stranger, operator = world.user("editor", tenant_id=other.id), world.user()
    admin, base = world.admin(tenant.id), f"/v1/admin/tenants/{tenant.id}/users"
    emails = [stranger.email, operator.email, "free1@example.test"]
    answers = [admin.post(base, json=invitation(email)) for email in emails]
    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [(201, "invited")] * 3
    assert {(*answer.json(),) for answer in answers} == {(*answers[0].json(),)}
    refused = [admin.post(base, json=invitation(email, password=NEW_PASSWORD)) for email in [*emails, "free2@b.test"]]
    assert {(answer.status_code, answer.json()["detail"]) for answer in refused} == {
        (403, "Leave password out: the person is invited by mail, and chooses one.")
    }
    assert [user["status"] for user in admin.get(base).json()["users"]] == ["invited"] * 3
    changed = {admin.patch(f"{base}/{answer.json()['userId']}", json={"name": "B"}).status_code for answer in answers}
    assert changed == {409}
    again = {admin.post(f"{base}/{answer.json()['userId']}/invitation").status_code for answer in answers}
    assert again == {202}
    mails = {mail.recipient: mail for mail in world.mails()}
    assert [bool(LINK.findall(mails[email].text)) for email in emails] == [False, False, True]
    assert world.signs_in(stranger.email, PASSWORD)
    assert [admin.delete(f"{base}/{answer.json()['userId']}").status_code for answer in answers] == [204] * 3
    assert admin.get(base).json()["users"] == []


def test_an_invited_person_creates_the_account_and_signs_in(world: MailedIdentity, new_tenant: NewTenant) -> None:
    tenant = new_tenant()
    admin, base = world.admin(tenant.id), f"/v1/admin/tenants/{tenant.id}/users"
    invited = admin.post(base, json=invitation("invited@example.test", language="de")).json()
    browser, (mail,) = world.browser(), world.mails()
    assert mail.subject == "Sie sind zu DeepLens eingeladen"
    (link,) = LINK.findall(mail.text)
    assert not world.signs_in(invited["email"], "")
    page = browser.open(link)
    assert (form_of(page).fields["name"], "A tenant" in page.text) == ("Ada", True)
    weak = browser.submit(page, password="password1234")
    nameless = browser.submit(page, name=" ", password=PASSWORD)
    assert (weak.status_code, nameless.status_code) == (422, 422)
    assert browser.submit(page, name="Ada L.", password=PASSWORD).status_code == 200
    assert browser.cookie("deeplens-session") is None
    assert browser.open(link).status_code == 410
    assert world.signs_in(invited["email"], PASSWORD)
    (user,) = admin.get(base).json()["users"]
    assert (user["userId"], user["name"], user["status"]) == (invited["userId"], "Ada L.", "active")


def test_an_invitation_gives_no_more_than_its_administrator_has_and_no_other_tenant(
    world: MailedIdentity, new_tenant: NewTenant
) -> None:
    tenant, other = new_tenant(), new_tenant()
    base = f"/v1/admin/tenants/{tenant.id}/users"
    weak, strong = world.admin(tenant.id, ADMIN), world.admin(tenant.id)
    assert weak.post(base, json=invitation("strong@example.test")).status_code == 403
    assert strong.post(base, json=invitation("x@example.test", roles=["platform_admin"])).status_code == 422
    invited = strong.post(base, json=invitation("theirs@example.test")).json()
    stranger = world.admin(other.id)
    for prefix in (base, f"/v1/admin/tenants/{other.id}/users"):
        assert stranger.post(f"{prefix}/{invited['userId']}/invitation").status_code in (403, 404)
        assert stranger.delete(f"{prefix}/{invited['userId']}").status_code in (403, 404)
    assert [user["status"] for user in strong.get(base).json()["users"]] == ["invited"]


def test_an_operator_creates_with_a_password_as_before(world: MailedIdentity, new_tenant: NewTenant) -> None:
    tenant, other = new_tenant(), new_tenant()
    root, base = world.admin(None, ADMIN), f"/v1/admin/tenants/{tenant.id}/users"
    taken = world.user("editor", tenant_id=other.id)
    created = root.post(base, json=invitation("made@example.test", password=PASSWORD))
    assert (created.status_code, created.json()["status"]) == (201, "active")
    refused = root.post(base, json=invitation(taken.email, password=PASSWORD))
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/email-taken")
    own = world.admin(tenant.id).post(base, json=invitation("made@example.test"))
    assert (own.status_code, own.json()["type"]) == (409, "/problems/email-taken")


def test_a_new_password_by_an_administrator_is_told(world: MailedIdentity) -> None:
    user, root = world.user(), world.admin(None, *API_SCOPES)
    assert root.patch(f"/v1/admin/users/{user.id}", json={"password": NEW_PASSWORD}).status_code == 200
    (mail,) = world.mails()
    assert (mail.recipient, "An administrator gave" in mail.text) == (user.email, True)


def test_the_rows_of_a_deleted_tenant_go(world: MailedIdentity, new_tenant: NewTenant) -> None:
    tenant = new_tenant()
    user = world.user("editor", tenant_id=tenant.id)
    world.forget(world.browser(), user.email)
    world.link()
    world.admin(tenant.id).post(f"/v1/admin/tenants/{tenant.id}/users", json=invitation("late@example.test"))
    assert world.count("password_resets", user.id) == 1
    counts = world.container.tenant_records.delete_rows(tenant.id)
    assert (counts["users"], counts["invitations"]) == (1, 1)
    with world.connections.platform() as connection:
        for table in ("outgoing_mail", "password_resets", "invitations"):
            rows = connection.execute(f"SELECT 1 FROM nextgen_identity.{table}".encode()).fetchall()
            assert rows == [], table
