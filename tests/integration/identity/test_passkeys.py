"""Passkeys: attacks by a browser that lies, and what Chromium and its virtual authenticator do."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from deeplens.database.connections import Connections
from deeplens.identity.federation.sign_in import Federation
from deeplens.identity.model import User
from playwright.sync_api import Browser, BrowserContext, Page, expect
from starlette.responses import RedirectResponse

from tests.harness.authenticator import SoftwareAuthenticator, raw, text
from tests.harness.chromium import running_chromium
from tests.harness.identity import ISSUER, PASSWORD, IdentityApi, InProcess, fast_passwords, served
from tests.harness.second_factors import (
    AREA,
    PASSKEY,
    STEP,
    half,
    options_of,
    post,
    press,
    sign_in,
    signed_in,
)

EVIL = "https://evil.test"


@pytest.fixture
def user(identity: IdentityApi) -> User:
    return identity.user()


def register(browser: InProcess, key: SoftwareAuthenticator, name: str = "Laptop") -> None:
    page = press(browser, "passkey")
    post(browser, page, f"{AREA}/passkey", name=name, credential=key.create(options_of(page)))


@pytest.fixture
def key(identity: IdentityApi, user: User) -> SoftwareAuthenticator:
    """The passkey of the user."""
    browser, key = identity.browser(), SoftwareAuthenticator(ISSUER)
    sign_in(browser, user)
    register(browser, key)
    assert identity.container.second_factors.of(user.id).passkeys == 1
    return key


def test_a_passkey_is_a_second_factor_and_signs_in_alone(
    identity: IdentityApi, user: User, key: SoftwareAuthenticator
) -> None:
    browser, page = half(identity, user)
    post(browser, page, STEP, credential=key.get(options_of(page)))
    assert methods(identity, browser) == ("pwd", "hwk", "mfa")
    alone = identity.browser()
    page = alone.open(PASSKEY)
    assert not options_of(page).get("allowCredentials")
    post(alone, page, PASSKEY, credential=key.get(options_of(page)))
    assert methods(identity, alone) == ("hwk", "user", "mfa")


def methods(identity: IdentityApi, browser: InProcess) -> tuple[str, ...]:
    session = identity.container.users.session(browser.cookie("deeplens-session") or "", datetime.now(UTC))
    return session.methods if session else ()


@pytest.mark.parametrize("path", [STEP, PASSKEY])
def test_an_answer_works_once(identity: IdentityApi, user: User, key: SoftwareAuthenticator, path: str) -> None:
    browser, page = half(identity, user)
    page = browser.open(path)
    answer = key.get(options_of(page))
    post(browser, page, path, credential=answer)
    assert signed_in(browser)
    # The thief sees the answer, and has the password and the same half-done sign-in.
    thief, page = half(identity, user)
    page = thief.open(path)
    assert post(thief, page, path, credential=answer).status_code == 401
    assert not signed_in(thief)


@pytest.mark.parametrize("path", [STEP, PASSKEY])
def test_a_challenge_belongs_to_one_browser_and_is_asked_once(
    identity: IdentityApi, user: User, key: SoftwareAuthenticator, path: str
) -> None:
    (victim, _), (thief, _) = half(identity, user), half(identity, user)
    page, stolen = thief.open(path), victim.open(path)
    assert post(thief, page, path, credential=key.get(options_of(stolen))).status_code == 401
    # A refused answer used up the thief's own challenge.
    assert post(thief, page, path, credential=key.get(options_of(page))).status_code == 401
    assert not signed_in(thief)
    post(victim, stolen, path, credential=key.get(options_of(stolen)))
    assert signed_in(victim)


@pytest.mark.parametrize("path", [STEP, PASSKEY])
@pytest.mark.parametrize(
    "lie",
    [
        {"origin": EVIL},
        {"origin": "http://localhost:5199"},
        {"rp_id": "evil.test"},
        {"user_handle": b"usr_somebody_else"},
    ],
)
def test_answers_of_other_sites_and_users_are_refused(
    identity: IdentityApi, user: User, key: SoftwareAuthenticator, path: str, lie: dict[str, Any]
) -> None:
    browser, _ = half(identity, user)
    page = browser.open(path)
    for name, value in lie.items():
        setattr(key, name, value)
    assert post(browser, page, path, credential=key.get(options_of(page))).status_code == 401
    assert not signed_in(browser)


def test_a_passkey_of_another_user_is_no_second_factor(
    identity: IdentityApi, user: User, key: SoftwareAuthenticator
) -> None:
    other, browser, own = identity.user(), identity.browser(), SoftwareAuthenticator(ISSUER)
    sign_in(browser, other)
    register(browser, own)
    thief, page = half(identity, user)
    assert post(thief, page, STEP, credential=own.get(options_of(page))).status_code == 401
    own.user_handle = user.id.encode()
    page = thief.open(STEP)
    assert post(thief, page, STEP, credential=own.get(options_of(page))).status_code == 401
    assert not signed_in(thief)


def test_a_passkey_alone_has_to_verify_its_user(identity: IdentityApi, user: User, key: SoftwareAuthenticator) -> None:
    key.verifies = False
    browser = identity.browser()
    page = browser.open(PASSKEY)
    assert options_of(page)["userVerification"] == "required"
    assert post(browser, page, PASSKEY, credential=key.get(options_of(page))).status_code == 401
    assert not signed_in(browser)
    # Beside the password, touching it is enough.
    browser, page = half(identity, user)
    post(browser, page, STEP, credential=key.get(options_of(page)))
    assert signed_in(browser)


@pytest.mark.parametrize("back", [0, 1, 5])
def test_a_counter_that_does_not_rise_tells_of_a_copy(
    identity: IdentityApi, user: User, key: SoftwareAuthenticator, back: int
) -> None:
    key.count = 10
    browser, page = half(identity, user)
    post(browser, page, STEP, credential=key.get(options_of(page)))
    assert signed_in(browser)
    key.count -= 1 + back
    copy, page = half(identity, user)
    assert post(copy, page, STEP, credential=key.get(options_of(page))).status_code == 401
    assert not signed_in(copy)


@pytest.mark.parametrize("name", ["signature", "authenticatorData", "clientDataJSON"])
def test_a_changed_answer_is_refused(identity: IdentityApi, user: User, key: SoftwareAuthenticator, name: str) -> None:
    browser, page = half(identity, user)
    answer = json.loads(key.get(options_of(page)))
    changed = bytearray(raw(answer["response"][name]))
    changed[-1] ^= 1
    answer["response"][name] = text(bytes(changed))
    assert post(browser, page, STEP, credential=json.dumps(answer)).status_code == 401
    assert not signed_in(browser)


@pytest.mark.parametrize("credential", ["", "{}", "[" * 20_000, "null", '{"id": 1}', "x" * 100_000])
@pytest.mark.parametrize("path", [STEP, PASSKEY])
def test_nonsense_is_refused(
    identity: IdentityApi, user: User, key: SoftwareAuthenticator, path: str, credential: str
) -> None:
    browser, _ = half(identity, user)
    page = browser.open(path)
    assert post(browser, page, path, credential=credential).status_code in (400, 401, 413)
    assert not signed_in(browser)


def test_a_passkey_is_registered_once_and_for_the_page_that_asked(
    identity: IdentityApi, user: User, key: SoftwareAuthenticator
) -> None:
    other, browser = identity.user(), identity.browser()
    sign_in(browser, other)
    page = press(browser, "passkey")
    assert post(browser, page, f"{AREA}/passkey", credential=key.create(options_of(page))).status_code == 400
    foreign = SoftwareAuthenticator(EVIL)
    page = browser.open(f"{AREA}/passkey")
    assert post(browser, page, f"{AREA}/passkey", credential=foreign.create(options_of(page))).status_code == 400
    fresh = SoftwareAuthenticator(ISSUER)
    old = options_of(page)
    page = browser.open(f"{AREA}/passkey")
    assert post(browser, page, f"{AREA}/passkey", credential=fresh.create(old)).status_code == 400
    assert not identity.container.second_factors.of(other.id).any
    stored = identity.container.second_factors.passkey(key.id)
    assert stored
    assert stored.user_id == user.id


def test_a_disabled_user_does_not_sign_in_by_passkey(
    identity: IdentityApi, user: User, key: SoftwareAuthenticator, connections: Connections
) -> None:
    browser = identity.browser()
    page = browser.open(PASSKEY)
    with connections.platform() as connection:
        connection.execute("UPDATE nextgen_identity.users SET status = 'disabled' WHERE id = %s", [user.id])
    assert post(browser, page, PASSKEY, credential=key.get(options_of(page))).status_code == 401


def test_a_passkey_alone_does_not_replace_the_only_provider_of_an_organisation(
    identity: IdentityApi, key: SoftwareAuthenticator
) -> None:
    led: list[str] = []
    provider = SimpleNamespace(federation_only=True)
    vars(identity.container)["identity_providers"] = SimpleNamespace(of_domain=lambda _: provider, exist=lambda: True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Federation, "begin", lambda *values: led.append(values[-1]) or RedirectResponse("/elsewhere", 303)
        )
        browser = identity.browser()
        page = browser.open(PASSKEY)
        post(browser, page, PASSKEY, credential=key.get(options_of(page)))
    assert len(led) == 1
    assert not browser.cookie("deeplens-session")


def test_a_passkey_gets_another_name_from_its_user_only(
    identity: IdentityApi, user: User, key: SoftwareAuthenticator
) -> None:
    browser, page = half(identity, user)
    post(browser, page, STEP, credential=key.get(options_of(page)))
    stranger, names = identity.browser(), list[str]()
    sign_in(stranger, identity.user())
    for reader, name in ((browser, "  My\nphone  "), (stranger, "Theirs"), (browser, "x" * 99), (browser, "\x00é")):
        press(reader, "rename-passkey", passkey=key.id.hex(), name=name)
        names.append(identity.container.second_factors.passkeys(user.id)[0].name)
    assert names == ["My phone", "My phone", "x" * 60, "\ufffdé"]


def test_another_users_passkey_cannot_be_removed(identity: IdentityApi, user: User, key: SoftwareAuthenticator) -> None:
    other, browser = identity.user(), identity.browser()
    sign_in(browser, other)
    press(browser, "remove-passkey", passkey=key.id.hex())
    press(browser, "remove-passkey", passkey="no id")
    assert identity.container.second_factors.of(user.id).passkeys == 1


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def site(connections: Connections) -> Iterator[IdentityApi]:
    with fast_passwords(), served(connections) as identity:
        yield identity


@pytest.fixture
def profile(chromium: Browser, site: IdentityApi) -> Iterator[BrowserContext]:
    context = chromium.new_context(base_url=site.issuer)
    yield context
    context.close()


def with_authenticator(page: Page) -> Page:
    """The page, with a device that has passkeys and verifies its user."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    return page


def give_password(page: Page, user: User, path: str = "/account/sign-in") -> None:
    page.goto(path)
    page.get_by_label("Email address").fill(user.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def test_chromium_registers_passkeys_and_signs_in_with_them(site: IdentityApi, profile: BrowserContext) -> None:
    user, page = site.user(), with_authenticator(profile.new_page())
    faults: list[str] = []
    page.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
    give_password(page, user, f"/account/sign-in?return={AREA}")
    page.get_by_role("button", name="Set up a passkey").click()
    page.get_by_label("Name").fill("My laptop")
    page.get_by_role("button", name="Set up").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the codes").click()
    assert len(download.value.path().read_text().split()) == 10
    page.get_by_role("link", name="Continue").click()
    expect(page.get_by_text("My laptop", exact=True)).to_be_visible()

    # The same device does not answer twice.
    page.get_by_role("button", name="Set up a passkey").click()
    page.get_by_label("Name").fill("Again")
    page.get_by_role("button", name="Set up").click()
    expect(page.get_by_role("alert")).to_contain_text("was not used")

    profile.clear_cookies()
    give_password(page, user)
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_text("You are signed in as")).to_be_visible()

    profile.clear_cookies()
    page.goto("/account/sign-in")
    page.get_by_role("link", name="Sign in with a passkey").click()
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_text(user.email)).to_be_visible()

    page.goto(AREA)
    page.get_by_role("button", name="Remove My laptop").click()
    expect(page.get_by_text("My laptop", exact=True)).to_have_count(0)
    assert not site.container.second_factors.of(user.id).any
    assert [fault for fault in faults if "status of 4" not in fault] == []


def test_chromium_without_script_is_told_and_signs_in_by_code(site: IdentityApi, chromium: Browser) -> None:
    user, key, browser = site.user(), SoftwareAuthenticator(site.issuer), site.browser()
    sign_in(browser, user)
    page = press(browser, "passkey")
    done = post(browser, page, f"{AREA}/passkey", name="Key", credential=key.create(options_of(page)))
    code = done.text.split("<li><code>")[1].split("<")[0]
    context = chromium.new_context(base_url=site.issuer, java_script_enabled=False)
    shown = context.new_page()
    give_password(shown, user)
    expect(shown.get_by_text("Passkeys need JavaScript")).to_be_visible()
    shown.get_by_label("Code").fill(code)
    shown.get_by_role("button", name="Continue").click()
    expect(shown.get_by_text("You are signed in as")).to_be_visible()
    context.close()
