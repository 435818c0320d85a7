"""A new address: confirmed by a mail to it, undone by a mail to the former one, and revealing no account."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from deeplens.access.scopes import ADMIN, API_SCOPES
from deeplens.database.connections import Connections
from deeplens.identity.federation.model import IdentityProvider
from deeplens.identity.model import User
from deeplens.identity.second_factors.model import Passkey

from tests.harness.browser import form_of
from tests.harness.identity import PASSWORD, InProcess
from tests.harness.mailed_identity import LINK, MailedIdentity, mailed_identity
from tests.integration.conftest import NewTenant

NEW_PASSWORD = "violet lantern harbour"


@pytest.fixture
def world(connections: Connections) -> Iterator[MailedIdentity]:
    with mailed_identity(connections) as world:
        yield world


def signed_in(world: MailedIdentity, user: User) -> InProcess:
    browser = world.browser()
    browser.sign_in(browser.open("/account/sign-in"), user.email, PASSWORD)
    world.mails()
    return browser


def ask(browser: InProcess, email: str) -> httpx.Response:
    return browser.submit(browser.open("/account/email"), email=email)


def fresh(user: User) -> str:
    return f"new.{user.email}"


def follow(world: MailedIdentity, link: str) -> httpx.Response:
    """Open a link in another browser, and press the button of its page."""
    browser = world.browser()
    return browser.submit(browser.open(link))


def confirmed(world: MailedIdentity, user: User) -> tuple[InProcess, str]:
    """A browser of the user, whose address has changed; and the link to the former address, which undoes it."""
    browser = signed_in(world, user)
    ask(browser, fresh(user))
    assert follow(world, world.link()).status_code == 200
    (notice,) = world.mails()
    assert notice.recipient == user.email
    return browser, LINK.findall(notice.text)[0]


def test_a_new_address_counts_once_it_is_confirmed(world: MailedIdentity) -> None:
    user = world.user()
    browser = signed_in(world, user)
    page = ask(browser, f" {fresh(user).upper()} ")
    assert (page.status_code, "is on its way" in page.text) == (200, True)
    (mail,) = world.mails()
    assert mail.recipient == fresh(user)
    (link,) = LINK.findall(mail.text)
    for _ in range(2):
        assert user.email in world.http().get(link).text, "opening it changes nothing"
    assert (world.signs_in(user.email, PASSWORD), world.signs_in(fresh(user), PASSWORD)) == (True, False)
    world.mails()
    assert follow(world, link).status_code == 200
    assert (world.signs_in(user.email, PASSWORD), world.signs_in(fresh(user), PASSWORD)) == (False, True)
    assert fresh(user) in browser.open("/account").text, "the session stays"
    assert world.browser().open(link).status_code == 410
    assert user.email in {mail.recipient for mail in world.mails()}


def test_a_new_address_reveals_no_account(world: MailedIdentity, new_tenant: NewTenant) -> None:
    user, stranger = world.user(), world.user("editor", tenant_id=new_tenant().id)
    browser, pages = signed_in(world, user), []
    for email in (stranger.email, "nobody@example.test"):
        page = ask(browser, email)
        pages.append((page.status_code, page.text.replace(email, "ADDRESS")))
    assert pages[0] == pages[1]
    mails = {mail.recipient: mail for mail in world.mails()}
    assert not LINK.findall(mails[stranger.email].text)
    assert "has an account already" in mails[stranger.email].text
    assert world.signs_in(stranger.email, PASSWORD)


def test_an_address_that_somebody_took_meanwhile_is_not_given_twice(world: MailedIdentity) -> None:
    user, other = world.user(), world.user()
    link = {}
    for person in (user, other):
        ask(signed_in(world, person), "wanted@example.test")
        link[person.id] = world.link()
    assert follow(world, link[user.id]).status_code == 200
    assert world.browser().open(link[other.id]).status_code == 200
    assert follow(world, link[other.id]).status_code == 410
    assert world.signs_in(other.email, PASSWORD)
    with world.connections.platform() as connection:
        connection.execute("UPDATE nextgen_identity.users SET email = id WHERE email = 'wanted@example.test'")


def test_a_thief_of_an_account_loses_it_to_the_owner_of_the_former_address(world: MailedIdentity) -> None:
    """With session, password, address, a passkey of their own and even a second change."""
    user, client = world.user(), world.client()
    thief, undo = confirmed(world, user)
    tokens = world.redeem(client, thief.answer(world.request(client), "", ""))
    now = datetime.now(UTC)
    world.container.second_factors.add_passkey(Passkey(b"owner" + user.id.encode(), user.id, "", b"", 0, (), now))
    done = follow(world, undo)
    assert (done.status_code, "former address is back" in done.text) == (200, True)
    assert thief.open("/account").url.path == "/account/sign-in"
    assert world.token_error(client, grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert [world.signs_in(email, PASSWORD) for email in (user.email, fresh(user))] == [False, False]
    assert world.container.second_factors.of(user.id).count == 0
    (reset,) = world.mails()
    assert reset.recipient == user.email
    owner = world.browser()
    assert owner.submit(owner.open(LINK.findall(reset.text)[0]), password=NEW_PASSWORD).status_code == 200
    assert world.signs_in(user.email, NEW_PASSWORD)
    assert world.browser().open(undo).status_code == 410


def test_signing_out_does_not_end_the_way_back(world: MailedIdentity) -> None:
    user = world.user()
    _, undo = confirmed(world, user)
    root = world.admin(None, *API_SCOPES)
    assert root.patch(f"/v1/admin/users/{user.id}", json={"password": NEW_PASSWORD}).status_code == 200
    assert world.browser().open(undo).status_code == 200


@pytest.mark.parametrize("mailed", [True, False])
def test_a_change_that_waits_ends_with_the_sessions(world: MailedIdentity, mailed: bool) -> None:
    user = world.user()
    ask(signed_in(world, user), fresh(user))
    link = world.link() if mailed else ""
    assert world.admin(None, *API_SCOPES).delete(f"/v1/admin/users/{user.id}/sessions").status_code == 204
    assert [mail for mail in world.mails() if LINK.findall(mail.text)] == []
    if mailed:
        assert world.browser().open(link).status_code == 410
    assert world.signs_in(user.email, PASSWORD)


def test_only_the_newest_link_changes_the_address_and_no_guess(world: MailedIdentity) -> None:
    user = world.user()
    browser, links = signed_in(world, user), []
    for number in range(2):
        ask(browser, f"{number}.{fresh(user)}")
        links.append(world.link())
    guesses = (links[0], links[1][:-1], f"{links[1]}A", links[1].replace("confirm", "undo"))
    for wrong in guesses:
        assert world.browser().open(wrong).status_code == 410, wrong
    assert follow(world, links[1]).status_code == 200
    assert world.signs_in(f"1.{fresh(user)}", PASSWORD)


def test_links_end_with_their_time(world: MailedIdentity) -> None:
    user = world.user()
    _, undo = confirmed(world, user)
    again = world.browser()
    again.sign_in(again.open("/account/sign-in"), fresh(user), PASSWORD)
    world.mails()
    ask(again, f"again.{fresh(user)}")
    link = world.link()
    with world.connections.platform() as connection:
        for table in ("email_changes", "former_emails"):
            connection.execute(f"UPDATE nextgen_identity.{table} SET expires_at = now()".encode())
    assert [world.browser().open(old).status_code for old in (link, undo)] == [410, 410]
    world.mails()
    assert [world.count(table, user.id) for table in ("email_changes", "former_emails")] == [0, 0]


def test_mails_are_limited_per_account_and_per_address(world: MailedIdentity) -> None:
    user, other = world.user(), world.user()
    browser = signed_in(world, user)
    statuses = [ask(browser, f"{number}@many.test").status_code for number in range(4)]
    assert statuses == [200, 200, 200, 429]
    browsers = [signed_in(world, person) for person in (other, world.user(), world.user(), world.user())]
    assert [ask(browser, "victim@many.test").status_code for browser in browsers] == [200, 200, 200, 429]


def test_an_old_session_changes_no_address(world: MailedIdentity) -> None:
    user = world.user()
    browser = signed_in(world, user)
    page = browser.open("/account/email")
    with world.connections.platform() as connection:
        statement = "UPDATE nextgen_identity.sessions SET authenticated_at = now() - %s WHERE user_id = %s"
        connection.execute(statement, [timedelta(minutes=11), user.id])
    assert "Sign in again" in browser.open("/account/email").text
    answer = browser.http.post("/account/email", data={**form_of(page).fields, "email": fresh(user)})
    assert (answer.status_code, answer.headers["location"]) == (303, "/account/sign-in?return=%2Faccount%2Femail")
    assert world.mails() == []
    assert browser.sign_in(browser.open(answer.headers["location"]), user.email, PASSWORD).url.path == "/account/email"


def test_an_organisations_addresses_are_neither_left_nor_taken(world: MailedIdentity, new_tenant: NewTenant) -> None:
    """Who left would sign in by password after the organisation has ended the account at its provider."""
    tenant, providers = new_tenant(), world.container.identity_providers
    provider = IdentityProvider(tenant.id, "https://login.test", "c", "email", "name", None, {}, "viewer", False)
    providers.save(provider, ["managed.test"])
    providers.verify(tenant.id, "managed.test", datetime.now(UTC))
    own, stranger, late = (world.user("editor", tenant_id=owner) for owner in (tenant.id, new_tenant().id, tenant.id))
    with world.connections.platform() as connection:
        statement = "UPDATE nextgen_identity.users SET email = %s WHERE id = %s"
        connection.execute(statement, ["ada@managed.test", own.id])
    leaving, taking, joining = (signed_in(world, person) for person in (own, stranger, late))
    leaving.sign_in(leaving.open("/account/sign-in"), "ada@managed.test", PASSWORD)
    answers = [ask(leaving, "free@example.test"), ask(taking, "bea@managed.test"), ask(joining, "cy@managed.test")]
    assert [answer.status_code for answer in answers] == [403, 403, 200]
    admin = world.admin(stranger.tenant_id)
    path = f"/v1/admin/tenants/{stranger.tenant_id}/users/{stranger.id}/email"
    refused = admin.post(path, json={"email": "bea@managed.test"})
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/domain-taken")
    assert providers.delete(tenant.id)


@pytest.mark.parametrize(("email", "status"), [("", 422), ("no address", 422), ("a@b@c", 422), ("x" * 320 + "@y", 422)])
def test_what_is_no_address_is_refused(world: MailedIdentity, email: str, status: int) -> None:
    assert ask(signed_in(world, world.user()), email).status_code == status
    assert world.mails() == []


def test_another_site_cannot_send_the_forms(world: MailedIdentity) -> None:
    user = world.user()
    browser, undo = confirmed(world, user)
    ask(browser, f"2.{fresh(user)}")
    link = world.link()
    for path, page in (("", "/account/email"), ("/confirm", link), ("/undo", undo)):
        fields = {**form_of(browser.open(page)).fields, "email": "evil@example.test"}
        answers = [
            browser.http.post(f"/account/email{path}", data=fields, headers={"Origin": "https://evil.example"}),
            browser.http.post(f"/account/email{path}", data=fields | {"form_secret": "another"}),
        ]
        assert [answer.status_code for answer in answers] == [400, 400]
    assert world.signs_in(fresh(user), PASSWORD)


def test_an_administrator_changes_the_address_of_their_own_users_only(
    world: MailedIdentity, new_tenant: NewTenant
) -> None:
    tenant, other = new_tenant(), new_tenant()
    user, stranger = (world.user("tenant_admin", tenant_id=owner.id) for owner in (tenant, other))
    base, admin = f"/v1/admin/tenants/{tenant.id}/users", world.admin(tenant.id)
    for email in (stranger.email, fresh(user)):
        answer = admin.post(f"{base}/{user.id}/email", json={"email": email})
        assert (answer.status_code, answer.json()["email"]) == (202, user.email)
    mails = {mail.recipient: LINK.findall(mail.text) for mail in world.mails()}
    assert (mails[stranger.email], len(mails[fresh(user)])) == ([], 1)
    assert admin.post(f"{base}/{stranger.id}/email", json={"email": fresh(user)}).status_code == 404
    elsewhere = f"/v1/admin/tenants/{other.id}/users/{stranger.id}/email"
    assert admin.post(elsewhere, json={"email": fresh(user)}).status_code in (403, 404)
    weak = world.admin(tenant.id, ADMIN)
    assert weak.post(f"{base}/{user.id}/email", json={"email": fresh(user)}).status_code == 403
    assert follow(world, mails[fresh(user)][0]).status_code == 200
    assert world.signs_in(fresh(user), PASSWORD)
    admin.post(f"{base}/{user.id}/email", json={"email": "third@example.test"})
    refused = admin.post(f"{base}/{user.id}/email", json={"email": "fourth@example.test"})
    assert (refused.status_code, refused.json()["type"], refused.headers["retry-after"]) == (
        429,
        "/problems/too-many-mails",
        "900",
    )
