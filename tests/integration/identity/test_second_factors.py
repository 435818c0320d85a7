"""Authenticator apps and recovery codes: how they sign in, and what attackers try."""

import re
from datetime import timedelta

import pytest
from deeplens.database.connections import Connections
from deeplens.identity.model import AccountChange, User
from deeplens.identity.second_factors.codes import STEP_SECONDS

from tests.harness.browser import query_of
from tests.harness.identity import CALLBACK, PASSWORD, IdentityApi
from tests.harness.second_factors import (
    AREA,
    STEP,
    App,
    SetClock,
    enrol,
    half,
    post,
    press,
    sign_in,
    signed_in,
)

SECOND = timedelta(seconds=1)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def identity(identity: IdentityApi, clock: SetClock) -> IdentityApi:
    vars(identity.container)["clock"] = clock
    return identity


@pytest.fixture
def user(identity: IdentityApi) -> User:
    return identity.user()


@pytest.fixture
def app(identity: IdentityApi, user: User, clock: SetClock) -> App:
    """A user with an authenticator app."""
    browser = identity.browser()
    sign_in(browser, user)
    return enrol(browser, clock, press(browser, "authenticator"))


def test_password_and_code_sign_in_and_tokens_say_so(identity: IdentityApi, user: User, app: App) -> None:
    client, browser = identity.client(), identity.browser()
    page = sign_in(browser, user, identity.request(client))
    page = post(browser, page, STEP, code=f" {app.code()[:3]} {app.code()[3:]} ")
    answer = browser.submit(page, decision="allow")
    tokens = identity.redeem(client, answer.headers["location"])
    for name in ("access_token", "id_token"):
        claims = identity.claims(tokens[name])
        assert (claims["amr"], claims["acr"]) == (["pwd", "otp", "mfa"], "aal2")
        assert claims["auth_time"] == int(app.clock.now().timestamp())


@pytest.mark.parametrize("steps", [-1, 0, 1])
def test_a_clock_may_be_one_step_off(identity: IdentityApi, user: User, app: App, steps: int) -> None:
    app.clock.pass_step()
    browser, page = half(identity, user)
    post(browser, page, STEP, code=app.code(steps))
    assert signed_in(browser)


@pytest.mark.parametrize("steps", [-2, 2])
def test_two_steps_are_too_many(identity: IdentityApi, user: User, app: App, steps: int) -> None:
    app.clock.pass_step()
    app.clock.pass_step()
    browser, page = half(identity, user)
    assert post(browser, page, STEP, code=app.code(steps)).status_code == 401
    assert not signed_in(browser)


@pytest.mark.parametrize("steps", [0, -1])
def test_a_code_that_was_used_and_an_earlier_one_are_refused(
    identity: IdentityApi, user: User, app: App, steps: int
) -> None:
    app.clock.pass_step()
    browser, page = half(identity, user)
    code, earlier = app.code(), app.code(steps)
    post(browser, page, STEP, code=code)
    assert signed_in(browser)
    thief, page = half(identity, user)
    assert post(thief, page, STEP, code=earlier).status_code == 401
    assert not signed_in(thief)
    with identity.container.connections.platform() as connection:
        statement = "SELECT 1 FROM nextgen_identity.outgoing_mail WHERE user_id = %s AND change = 'code-used-again'"
        assert len(connection.execute(statement, [user.id]).fetchall()) == 1, "the owner of the app is told"


def test_the_code_that_confirmed_the_app_does_not_sign_in(identity: IdentityApi, user: User, clock: SetClock) -> None:
    browser = identity.browser()
    sign_in(browser, user)
    app = enrol(browser, clock, press(browser, "authenticator"))
    clock.time -= timedelta(seconds=STEP_SECONDS)
    thief, page = half(identity, user)
    assert post(thief, page, STEP, code=app.code()).status_code == 401


def test_a_wrong_code_does_not_turn_an_app_on(identity: IdentityApi, user: User, clock: SetClock) -> None:
    browser = identity.browser()
    sign_in(browser, user)
    page = press(browser, "authenticator")
    assert post(browser, page, f"{AREA}/authenticator", code="000000").status_code == 401
    again = browser.open(f"{AREA}/authenticator")
    assert re.findall(r"<code>([A-Z2-7 ]+)</code>", again.text) == re.findall(r"<code>([A-Z2-7 ]+)</code>", page.text)
    assert "Second step" not in sign_in(identity.browser(), user).text


def test_guessed_codes_are_throttled_whoever_guesses_and_however_often_they_begin(
    identity: IdentityApi, user: User, app: App
) -> None:
    app.clock.pass_step()
    statuses = []
    for _ in range(3):
        browser, page = half(identity, user)
        statuses += [post(browser, page, STEP, code=f"{guess:06}").status_code for guess in range(3)]
    assert statuses == [401] * 5 + [429] * 4
    assert post(browser, page, STEP, code=app.code()).status_code == 429
    assert post(browser, page, STEP, code=app.codes[0]).status_code == 429
    assert not signed_in(browser)
    app.clock.time += timedelta(minutes=15)
    browser, page = half(identity, user)
    post(browser, page, STEP, code=app.code())
    assert signed_in(browser)


def test_a_recovery_code_works_once_in_any_spelling(identity: IdentityApi, user: User, app: App) -> None:
    browser, page = half(identity, user)
    post(browser, page, STEP, code=app.codes[3].upper().replace("-", " "))
    assert signed_in(browser)
    thief, page = half(identity, user)
    assert post(thief, page, STEP, code=app.codes[3]).status_code == 401
    assert not signed_in(thief)
    assert "9 codes are left" in browser.open(AREA).text


def test_new_recovery_codes_end_the_old_ones(identity: IdentityApi, user: User, app: App) -> None:
    browser, page = half(identity, user)
    post(browser, page, STEP, code=app.code())
    fresh = re.findall(r"<li><code>([^<]+)</code>", press(browser, "recovery-codes").text)
    assert len(set(fresh) | set(app.codes)) == 20
    other, page = half(identity, user)
    assert post(other, page, STEP, code=app.codes[0]).status_code == 401
    post(other, page, STEP, code=fresh[0])
    assert signed_in(other)


def test_recovery_codes_of_another_user_do_not_work(identity: IdentityApi, app: App, clock: SetClock) -> None:
    other, browser = identity.user(), identity.browser()
    sign_in(browser, other)
    enrol(browser, clock, press(browser, "authenticator"))
    thief, page = half(identity, other)
    assert post(thief, page, STEP, code=app.codes[0]).status_code == 401
    assert post(thief, page, STEP, code=app.code()).status_code == 401


def test_a_half_done_sign_in_is_no_session(identity: IdentityApi, user: User, app: App) -> None:
    client, (browser, page) = identity.client(), half(identity, user)
    half_done = browser.cookie("deeplens-sign-in")
    assert half_done
    assert browser.cookie("deeplens-session") is None
    browser.http.cookies.set("deeplens-session", half_done, domain="localhost.local", path="/")
    assert not signed_in(browser)
    assert "Email address" in browser.open(identity.request(client)).text
    assert "Email address" in browser.open(AREA).text
    # The pages that add a factor do not take it either: the password alone must not add one.
    for path in ("new", "authenticator", "passkey"):
        assert "Email address" in browser.open(f"{AREA}/{path}").text
        assert "Email address" in post(browser, page, f"{AREA}/{path}", code=app.code()).text or path == "new"


def test_a_half_done_sign_in_belongs_to_its_browser_its_user_and_ten_minutes(
    identity: IdentityApi, user: User, app: App
) -> None:
    _, page = half(identity, user)
    stranger = identity.browser()
    stranger.open("/account/sign-in")
    assert "Email address" in post(stranger, stranger.open("/account/sign-in"), STEP, code=app.code()).text
    browser, page = half(identity, user)
    app.clock.time += timedelta(minutes=10)
    assert "Email address" in post(browser, page, STEP, code=app.code()).text
    assert not signed_in(browser)


@pytest.mark.parametrize(
    "change", [AccountChange(None, None, "another long passphrase", None), AccountChange(None, None, None, "disabled")]
)
def test_a_new_password_and_disabling_end_a_half_done_sign_in(
    identity: IdentityApi, user: User, app: App, change: AccountChange
) -> None:
    browser, page = half(identity, user)
    identity.container.users.change(None, user.id, change, app.clock.now())
    identity.container.users.change(None, user.id, AccountChange(None, None, None, "active"), app.clock.now())
    assert "Email address" in post(browser, page, STEP, code=app.code()).text
    assert not signed_in(browser)


def test_a_reset_of_factors_ends_codes_and_half_done_sign_ins(identity: IdentityApi, user: User, app: App) -> None:
    client, browser = identity.client(), identity.browser()
    page = post(browser, sign_in(browser, user, identity.request(client)), STEP, code=app.code())
    location = browser.submit(page, decision="allow").headers["location"]
    other, half_page = half(identity, user)
    assert identity.container.second_factors.reset(user.id, app.clock.now())
    assert identity.token_error(client, **identity.code_form(client, location)) == "invalid_grant"
    assert "Email address" in post(other, half_page, STEP, code=app.code()).text


def test_a_planted_half_done_sign_in_and_session_gain_nothing(identity: IdentityApi, user: User, app: App) -> None:
    attacker = identity.browser()
    sign_in(attacker, identity.user())
    planted = attacker.cookie("deeplens-session")
    attackers_half, _ = half(identity, user)
    victim = identity.browser()
    for name, value in (
        ("deeplens-session", planted),
        ("deeplens-sign-in", attackers_half.cookie("deeplens-sign-in")),
    ):
        assert value
        victim.http.cookies.set(name, value, domain="localhost.local", path="/")
    page = sign_in(victim, user, f"/account/sign-in?return={AREA}")
    post(victim, page, STEP, code=app.code())
    assert user.email in victim.open("/account").text
    assert victim.cookie("deeplens-session") != planted
    assert not signed_in(attacker)
    app.clock.pass_step()
    # The attacker's half-done sign-in ended, although the victim completed one that looked like it.
    assert "Email address" in attackers_half.open(STEP).text
    assert not signed_in(attackers_half)


def test_a_form_of_another_site_is_refused(identity: IdentityApi, user: User, app: App) -> None:
    browser, _ = half(identity, user)
    for data, headers in (
        ({"code": app.code()}, {}),
        ({"code": app.code(), "form_secret": "guessed"}, {}),
        ({"code": app.code(), "form_secret": browser.cookie("deeplens-form")}, {"Origin": "https://evil.test"}),
    ):
        assert browser.http.post(STEP, data=data, headers=headers).status_code == 400
    assert not signed_in(browser)


def test_sessions_and_refresh_tokens_from_before_the_factor_end(
    identity: IdentityApi, user: User, clock: SetClock
) -> None:
    client, thief, browser = identity.client(), identity.browser(), identity.browser()
    stolen = identity.redeem(client, thief.answer(identity.request(client), user.email, PASSWORD))
    assert signed_in(thief)
    sign_in(browser, user)
    enrol(browser, clock, press(browser, "authenticator"))
    assert signed_in(browser)
    assert not signed_in(thief)
    answer = identity.ask_token(client, grant_type="refresh_token", refresh_token=stolen["refresh_token"])
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


def test_factors_change_only_right_after_a_sign_in(identity: IdentityApi, user: User, app: App) -> None:
    browser, page = half(identity, user)
    post(browser, page, STEP, code=app.code())
    area = browser.open(AREA)
    app.clock.time += timedelta(minutes=10) + SECOND
    for action in ("remove-authenticator", "authenticator", "passkey", "recovery-codes"):
        assert "Email address" in post(browser, area, AREA, action=action).text
    assert identity.container.second_factors.of(user.id).authenticator
    # Signing in again, with the code, leads back.
    page = browser.sign_in(browser.open(f"/account/sign-in?return={AREA}"), user.email, PASSWORD)
    page = post(browser, page, STEP, code=app.code())
    assert page.url.path == AREA
    press(browser, "remove-authenticator")
    factors = identity.container.second_factors.of(user.id)
    assert (factors.authenticator, factors.recovery_codes) == (False, 0)
    assert "Second step" not in sign_in(identity.browser(), user).text


def test_people_are_told_by_mail_when_their_factors_change(
    identity: IdentityApi, user: User, app: App, connections: Connections
) -> None:
    browser, page = half(identity, user)
    post(browser, page, STEP, code=app.code())
    press(browser, "recovery-codes")
    press(browser, "remove-authenticator")
    with connections.platform() as connection:
        statement = "SELECT change FROM nextgen_identity.outgoing_mail WHERE recipient = %s AND change <> 'new-device'"
        told = [row["change"] for row in connection.execute(statement, [user.email])]
    assert sorted(told) == [
        "recovery-codes-replaced",
        "recovery-codes-replaced",
        "second-factor-added",
        "second-factor-removed",
    ]


def test_secrets_are_not_in_the_database(identity: IdentityApi, app: App, connections: Connections) -> None:
    with connections.platform() as connection:
        rows = [
            str(connection.execute(f"SELECT * FROM nextgen_identity.{table}").fetchall())  # type: ignore[arg-type]
            for table in ("authenticators", "recovery_codes", "pending_sign_ins")
        ]
    for secret in (app.totp.secret, *app.codes):
        assert not any(secret in row for row in rows)
        assert not any(secret.replace("-", "") in row for row in rows)


def test_a_client_that_wants_two_factors_gets_them(identity: IdentityApi, user: User, clock: SetClock) -> None:
    client, browser = identity.client(needs_consent=False), identity.browser()
    silent = browser.open(identity.request(client, acr_values="aal2", prompt="none"))
    assert query_of(silent.headers["location"])["error"] == "login_required"
    sign_in(browser, user)
    silent = browser.open(identity.request(client, acr_values="aal2", prompt="none"))
    assert query_of(silent.headers["location"])["error"] == "interaction_required"
    either = browser.open(identity.request(client, acr_values="aal2 aal1", prompt="none"))
    assert "code" in query_of(either.headers["location"])
    page = browser.open(identity.request(client, acr_values="aal2"))
    assert "Set up a second factor" in page.text
    page = browser.open(f"{AREA}/authenticator")
    enrol(browser, clock, page)
    answer = browser.open(identity.request(client, acr_values="aal2"))
    assert answer.headers["location"].startswith(CALLBACK)
    assert identity.claims(identity.redeem(client, answer.headers["location"])["access_token"])["acr"] == "aal2"
    # After the client's longest time the whole sign-in is repeated, second factor included.
    clock.time += timedelta(minutes=11)
    page = browser.open(identity.request(client, acr_values="aal2", max_age="600"))
    assert "Email address" in page.text
    assert "Second step" in browser.sign_in(page, user.email, PASSWORD).text
