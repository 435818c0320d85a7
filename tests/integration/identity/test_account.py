"""One's own account: who is signed in sees it, and who is not signs in first and comes back."""

from tests.harness.browser import query_of
from tests.harness.identity import PASSWORD, IdentityApi


def test_a_page_of_the_account_leads_to_sign_in_and_back(identity: IdentityApi) -> None:
    user, browser = identity.user(), identity.browser()
    leads = browser.http.get("/account?ui_locales=de")
    assert leads.status_code == 303
    assert query_of(leads.headers["location"]) == {"return": "/account", "ui_locales": "de"}
    page = browser.open(leads.headers["location"])
    assert "Anmelden" in page.text
    assert user.email not in page.text
    assert user.email in browser.sign_in(page, user.email, PASSWORD).text


def test_who_is_signed_in_gets_from_the_sign_in_page_to_the_account(identity: IdentityApi) -> None:
    user, browser = identity.user(), identity.browser()
    assert "Your account" in browser.sign_in(browser.open("/account/sign-in"), user.email, PASSWORD).text
    assert "Your account" in browser.open("/account/sign-in").text
