"""Forms, sessions, cookies and the parameters of the sign-in behave as OpenID Connect defines."""

import secrets
import time

import jwt
import pytest
from deeplens.access.scopes import READ

from tests.e2e.identity.conftest import PASSWORD, World
from tests.harness.browser import Browser, form_of, query_of
from tests.harness.refusals import EVIL, page_of


def test_a_form_is_only_taken_from_our_own_page(world: World, reader: str) -> None:
    browser = world.browser()
    page = browser.open("/account/sign-in")
    form = {**form_of(page).fields, "email": reader, "password": PASSWORD}
    address = f"{world.issuer}/account/sign-in"
    without = {name: value for name, value in form.items() if name != "form_secret"}
    assert browser.http.post(address, data=without).status_code == 400
    assert browser.http.post(address, data={**form, "form_secret": "guessed"}).status_code == 400
    assert browser.http.post(address, data=form, headers={"Origin": EVIL}).status_code == 400
    assert world.browser().http.post(address, data=form).status_code == 400
    assert browser.cookie("deeplens-session") is None
    assert browser.http.post(address, data=form).status_code == 303


def test_consent_is_only_taken_from_our_own_page(world: World, reader: str) -> None:
    app, browser = world.app(), world.browser()
    page = browser.sign_in(browser.open(app.request()), reader, PASSWORD)
    form = form_of(page)
    address = f"{world.issuer}{form.action}"
    for fields, headers in (
        ({"decision": "allow", "form_secret": "guessed"}, {}),
        ({"decision": "allow", **form.fields}, {"Origin": EVIL}),
    ):
        page_of(browser.http.post(address, data=fields, headers=headers))
    # Without the secret it is a client's request by POST: it leads to the page again, never past it.
    again = browser.open(browser.http.post(address, data={"decision": "allow"}).headers["location"])
    assert again.status_code in (200, 400)
    answer = browser.submit(page, decision="deny")
    assert query_of(answer.headers["location"])["error"] == "access_denied"


def test_a_foreign_page_cannot_sign_a_person_out(world: World, reader: str) -> None:
    browser = world.browser()
    browser.sign_in(browser.open("/account/sign-in"), reader, PASSWORD)
    address = f"{world.issuer}/connect/endsession"
    assert "Sign out?" in browser.http.get(address).text
    assert "Sign out?" in browser.http.post(address, data={}).text
    asking = browser.open("/connect/endsession")
    stolen = form_of(asking).fields
    assert "Sign out?" in browser.http.post(address, data=stolen, headers={"Origin": EVIL}).text
    assert reader in browser.open("/account/sign-in").text
    assert "You are signed out" in browser.submit(asking).text
    assert reader not in browser.open("/account/sign-in").text


def test_signing_in_never_takes_over_a_planted_session(world: World) -> None:
    victim, attacker = world.browser(), world.browser()
    own = world.user()
    attacker.sign_in(attacker.open("/account/sign-in"), own, PASSWORD)
    world.age_sessions(own, seconds=60)
    planted = attacker.cookie("deeplens-session")
    assert planted
    victim.http.cookies.set("deeplens-session", planted, domain="localhost.local", path="/")
    page = victim.open(world.app().request(prompt="login"))
    victim.sign_in(page, world.user(), PASSWORD)
    assert victim.cookie("deeplens-session") != planted
    assert "Email address" in attacker.open("/account/sign-in").text


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(world: World, reader: str) -> None:
    browser = world.browser()
    page = browser.open("/account/sign-in")
    fields = {**form_of(page).fields, "email": reader, "password": PASSWORD}
    signed_in = browser.http.post(f"{world.issuer}/account/sign-in", data=fields)
    for answer in (page, signed_in):
        for cookie in answer.headers.get_list("set-cookie"):
            attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
            assert {"httponly", "samesite=lax", "path=/"} <= attributes
            assert not any(attribute.startswith("domain") for attribute in attributes)


def test_wrong_passwords_are_answered_alike_whether_or_not_the_account_exists(world: World) -> None:
    emails, answers = (world.user(), f"nobody{secrets.token_hex(4)}@example.test"), list[list[tuple[int, str]]]()
    browser = world.browser()
    page = browser.open("/account/sign-in")
    for email in emails:
        sent = [browser.sign_in(page, email, "wrong password") for _ in range(7)]
        answers.append([(answer.status_code, answer.text.replace(email, "")) for answer in sent])
        assert [status for status, _ in answers[-1]] == [401] * 5 + [429] * 2
        assert sent[-1].headers["retry-after"] == "900"
        # Not even the right password is looked at.
        assert browser.sign_in(page, email, PASSWORD).status_code == 429
        assert browser.cookie("deeplens-session") is None
    assert answers[0] == answers[1]


def test_guesses_from_elsewhere_lock_nobody_out(world: World) -> None:
    """The attack as it was: a stranger guesses, and the owner of the address is locked out."""
    email, own, other = world.user(), Browser(world.issuer), Browser(world.issuer, from_address="127.0.0.9")
    own.sign_in(own.open("/account/sign-in"), email, PASSWORD)
    page = other.open("/account/sign-in")
    for _ in range(7):
        other.sign_in(page, email, "a guess")
    assert other.sign_in(page, email, PASSWORD).status_code == 429
    fresh = world.browser()
    assert fresh.sign_in(fresh.open("/account/sign-in"), email, PASSWORD).status_code == 200
    # From many networks at once: a new device has to wait, and the device that signed in before does not.
    for number in range(10, 14):
        stranger = Browser(world.issuer, from_address=f"127.0.0.{number}")
        page = stranger.open("/account/sign-in")
        for _ in range(5):
            stranger.sign_in(page, email, "a guess")
    new = world.browser()
    assert new.sign_in(new.open("/account/sign-in"), email, PASSWORD).status_code == 429
    own.http.cookies.delete("deeplens-session")
    assert own.sign_in(own.open("/account/sign-in"), email, PASSWORD).status_code == 200
    assert own.cookie("deeplens-session")


def test_a_known_device_is_known_for_its_own_address_only(world: World) -> None:
    email, victim, browser = world.user(), world.user(), world.browser()
    browser.sign_in(browser.open("/account/sign-in"), email, PASSWORD)
    browser.http.cookies.delete("deeplens-session")
    page = browser.open("/account/sign-in")
    assert [browser.sign_in(page, victim, "a guess").status_code for _ in range(6)] == [401] * 5 + [429]
    browser.http.cookies.delete("deeplens-device")
    assert browser.sign_in(page, victim, PASSWORD).status_code == 429


# What a client may ask of the sign-in.


def test_prompt_none_shows_no_page(world: World, reader: str) -> None:
    app, browser = world.app(), world.browser()
    assert query_of(browser.open(app.request(prompt="none")).headers["location"])["error"] == "login_required"
    browser.sign_in(browser.open("/account/sign-in"), reader, PASSWORD)
    assert query_of(browser.open(app.request(prompt="none")).headers["location"])["error"] == "consent_required"
    browser.submit(browser.open(app.request()), decision="allow")
    assert "code" in query_of(browser.open(app.request(prompt="none")).headers["location"])


def test_prompt_login_and_max_age_ask_for_the_password_again(world: World, reader: str) -> None:
    app, browser = world.app(needs_consent=False), world.browser()
    browser.answer(app.request(), reader, PASSWORD)
    world.age_sessions(reader, seconds=60)
    assert "code" in query_of(browser.open(app.request(max_age="3600")).headers["location"])
    for wish in ({"prompt": "login"}, {"max_age": "30"}, {"max_age": "0"}):
        assert "Email address" in browser.open(app.request(**wish)).text
    for wish in ({"prompt": "none", "max_age": "30"},):
        assert query_of(browser.open(app.request(**wish)).headers["location"])["error"] == "login_required"
    answer = browser.answer(app.request(prompt="login", max_age="30"), reader, PASSWORD)
    claims = jwt.decode(app.redeem(query_of(answer)["code"]).json()["id_token"], options={"verify_signature": False})
    assert time.time() - claims["auth_time"] < 30


def test_a_person_may_take_time_over_consent_after_prompt_login(world: World, reader: str) -> None:
    app, browser = world.app(), world.browser()
    page = browser.sign_in(browser.open(app.request(prompt="login consent", max_age="0")), reader, PASSWORD)
    world.age_sessions(reader, seconds=60)
    assert "code" in query_of(browser.submit(page, decision="allow").headers["location"])


def test_prompt_consent_asks_again_and_more_scopes_do_too(world: World, reader: str) -> None:
    app, browser = world.app(), world.browser()
    browser.answer(app.request(scope="openid"), reader, PASSWORD)
    assert browser.open(app.request(scope="openid")).is_redirect
    assert "Allow Photo shop?" in browser.open(app.request(scope="openid", prompt="consent")).text
    assert "Allow Photo shop?" in browser.open(app.request(scope=f"openid {READ}")).text


@pytest.mark.parametrize("wish", [{"max_age": "-1"}, {"max_age": "x"}, {"max_age": "9" * 40}, {"prompt": "dance"}])
def test_odd_wishes_break_nothing(world: World, reader: str, wish: dict[str, str]) -> None:
    page = world.browser().open(world.app().request(**wish))
    assert page.status_code in (200, 303)
