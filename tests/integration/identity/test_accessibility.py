"""axe finds nothing on any page, light and dark, English and German; the keyboard is enough.

A new page adds a row to ``PAGES``. ``SCREENSHOTS=folder`` keeps a picture of each, in a wide and in a narrow window.
"""

import os
import secrets
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from urllib.parse import urlencode

import pyotp
import pytest
import uvicorn
from argon2 import PasswordHasher
from axe_playwright_python.sync_playwright import Axe
from deeplens.access.api_keys import digest
from deeplens.access.scopes import SCOPES
from deeplens.bootstrap.container import Container
from deeplens.identity import passwords
from deeplens.identity.app import create_identity_app
from deeplens.identity.federation.model import IdentityProvider
from deeplens.identity.model import Client, User
from deeplens.identity.recovery.invite import InviteUser
from deeplens.identity.second_factors.codes import secret_of
from deeplens.identity.second_factors.model import Authenticator, Passkey
from deeplens.settings import Settings
from playwright.sync_api import Browser, Page, expect

from tests.fakes.federation import CLIENT_ID, FakeProvider
from tests.fakes.stores import FakeSecrets
from tests.harness.chromium import running_chromium
from tests.integration.conftest import copied_tenant

EMAIL, PASSWORD = "reader@example.test", "correct horse battery"
GUARDED = "guarded@example.test"
containers: list[Container] = []
EMAIL_CHANGE = """
WITH waiting AS (
    INSERT INTO nextgen_identity.email_changes VALUES ('usr_reader', 'new@example.test', %(token)s, %(later)s)
    ON CONFLICT (user_id) DO UPDATE SET token_sha256 = excluded.token_sha256
)
INSERT INTO nextgen_identity.former_emails VALUES ('usr_reader', 'old@example.test', %(token)s, now(), %(later)s)
ON CONFLICT (user_id, email) DO UPDATE SET token_sha256 = excluded.token_sha256
"""
CLIENT, STRANGER, CALLBACK = "shown-app", "strange-app", "http://app.localhost:5199/callback"
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
SUBMIT = "main button:not([type])"
NARROW, WIDE = {"width": 320, "height": 640}, {"width": 1280, "height": 800}


@dataclass(frozen=True, slots=True)
class Site:
    """The Identity API on a port of its own, with one user."""

    url: str
    parts: Container


def authorize(client: str = CLIENT) -> str:
    asked = {
        "client_id": client,
        "response_type": "code",
        "redirect_uri": CALLBACK,
        "scope": " ".join(SCOPES),
        "code_challenge": "c" * 43,
        "code_challenge_method": "S256",
        "prompt": "consent",
    }
    return f"/connect/authorize?{urlencode(asked)}"


def at(path: str) -> Callable[[Page], None]:
    """Open a page without a session."""
    return lambda page: open_path(page, path)


def signed_in_at(path: str) -> Callable[[Page], None]:
    def show(page: Page) -> None:
        sign_in(page)
        open_path(page, path)

    return show


def open_path(page: Page, path: str) -> None:
    page.goto(path)


def sign_in(page: Page, password: str = PASSWORD, email: str = EMAIL) -> None:
    page.goto("/account/sign-in")
    page.locator("#email").fill(email)
    page.locator("#password").fill(password)
    page.locator(SUBMIT).first.click()


def sign_out(page: Page) -> None:
    signed_in_at("/connect/endsession")(page)
    page.locator(SUBMIT).click()


def pressed(action: str, path: str = "") -> Callable[[Page], None]:
    """Press a button of the security page, and open another page afterwards."""

    def show(page: Page) -> None:
        signed_in_at("/account/security")(page)
        page.locator(f"button[value={action}]").click()
        if path:
            open_path(page, path)

    return show


def half_signed_in(page: Page) -> None:
    sign_in(page, email=GUARDED)


def wrong_code(page: Page) -> None:
    half_signed_in(page)
    page.locator("#code").fill("000000")
    page.locator(SUBMIT).last.click()


def with_factors(page: Page) -> None:
    """The security page of somebody with an app and a passkey."""
    container, enrolment = containers[-1], bytes(16)
    now = datetime.now(UTC)
    container.second_factors.save_authenticator(Authenticator("usr_guarded", enrolment, 0, now))
    secret = secret_of(container.derivation_key.derive, "usr_guarded", enrolment)
    half_signed_in(page)
    page.locator("#code").fill(pyotp.TOTP(secret).at(now))
    page.locator(SUBMIT).last.click()
    page.get_by_role("main").get_by_text(GUARDED).wait_for()
    open_path(page, "/account/security")


def recovery_codes(page: Page) -> None:
    with_factors(page)
    page.locator("button[value=recovery-codes]").click()


def own_access(page: Page, name: str) -> None:
    """A page that lists another session, too, and an application."""
    sign_in(page)
    page.context.clear_cookies(name="deeplens-session")
    sign_in(page)
    open_path(page, f"/account/{name}")


def end_session(page: Page) -> None:
    own_access(page, "sessions")
    page.locator("main li button").first.click()
    expect(page.get_by_role("status")).to_be_visible()


def behind_link(path: str) -> Callable[[Page], None]:
    """Open a page that a mail's link leads to."""

    def show(page: Page) -> None:
        parts, now = containers[-1], datetime.now(UTC)
        token, later = secrets.token_urlsafe(32), now + timedelta(hours=1)
        if path == "/account/reset":
            assert parts.password_resets.issue(EMAIL, digest(token), later)
        elif path == "/account/invitation":
            invite = parts.build(InviteUser)
            invited = invite("tenant_strange", f"{token.lower()}@example.test", "Ada", ["editor"], "en")
            assert parts.invitations.issue(invited.id, digest(token), now)
        else:
            with parts.connections.platform() as connection:
                connection.execute(EMAIL_CHANGE, {"token": digest(token), "later": later})
        open_path(page, f"{path}?token={token}")

    return show


def old_session(page: Page) -> None:
    """The page of the address, some time after the sign-in."""
    sign_in(page)
    with containers[-1].connections.platform() as connection:
        connection.execute("UPDATE nextgen_identity.sessions SET authenticated_at = now() - interval '11 minutes'")
    open_path(page, "/account/email")


def email_change_asked(page: Page) -> None:
    signed_in_at("/account/email")(page)
    page.locator("#email").fill("new.reader@example.test")
    page.locator(SUBMIT).click()
    expect(page.get_by_role("status")).to_be_visible()


def to_provider(page: Page) -> None:
    """The page that leads on to an organisation's provider, which answers without a page."""
    page.route("https://login.acme.test/**", lambda route: route.fulfill(status=204))
    page.goto("/account/sign-in")
    page.locator("#email").fill("ada@acme.test")
    page.locator("button[formaction]").click()
    expect(page.locator("main a")).to_be_visible()


PAGES: dict[str, Callable[[Page], None]] = {
    "sign-in": at("/account/sign-in"),
    "sign-in-of-an-application": at(authorize()),
    "wrong-password": lambda page: sign_in(page, "a wrong password"),
    "account": signed_in_at("/account"),
    "sessions": lambda page: own_access(page, "sessions"),
    "applications": lambda page: own_access(page, "applications"),
    "session-ended": lambda page: end_session(page),
    "consent": signed_in_at(authorize()),
    "other-account": signed_in_at(authorize(STRANGER)),
    "sign-out": signed_in_at("/connect/endsession"),
    "signed-out": sign_out,
    "passkey": at("/account/passkey"),
    "security": signed_in_at("/account/security"),
    "security-with-factors": with_factors,
    "authenticator": pressed("authenticator"),
    "new-passkey": pressed("passkey"),
    "new-factor": pressed("passkey", "/account/security/new"),
    "second-factor": half_signed_in,
    "wrong-code": wrong_code,
    "recovery-codes": recovery_codes,
    "forgotten-password": at("/account/forgot"),
    "link-ended": at("/account/reset?token=none"),
    "new-password": behind_link("/account/reset"),
    "invitation": behind_link("/account/invitation"),
    "email": signed_in_at("/account/email"),
    "email-after-some-time": old_session,
    "email-change-asked": email_change_asked,
    "confirm-email": behind_link("/account/email/confirm"),
    "undo-email": behind_link("/account/email/undo"),
    "to-provider": to_provider,
    "change-password": signed_in_at("/account/password"),
    "refusal": at("/connect/authorize?client_id=nobody&response_type=code"),
}
"""How a browser comes to each page."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def site(platform_url: str) -> Iterator[Site]:
    with socket.socket() as listener, pytest.MonkeyPatch.context() as patch:
        listener.bind(("127.0.0.1", 0))
        url = f"http://localhost:{listener.getsockname()[1]}"
        patch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
        passwords._nobody.cache_clear()
        parts = Container(Settings(database_url=platform_url, identity_url=url, DEEPLENS_ENVIRONMENT="local"))
        parts.secret_store, parts.provider_endpoint = FakeSecrets(), FakeProvider()
        copied_tenant(platform_url, "tenant_strange")
        _fill(parts)
        server = uvicorn.Server(uvicorn.Config(create_identity_app(parts), log_level="warning", access_log=False))
        thread = Thread(target=server.run, args=([listener],))
        thread.start()
        yield Site(url, parts)
        server.should_exit = True
        thread.join()
        parts.connections.close()


def _fill(parts: Container) -> None:
    with parts.connections.platform() as connection:
        connection.execute("DELETE FROM nextgen_identity.users WHERE email = ANY(%s)", [[EMAIL, GUARDED]])
    reader = User("usr_reader", None, EMAIL, "Ada", ("platform_admin",))
    parts.users.create(reader, PASSWORD)
    parts.users.create(User("usr_guarded", None, GUARDED, "Grace", ("platform_admin",)), PASSWORD)
    parts.second_factors.add_passkey(Passkey(b"key", "usr_guarded", "Laptop", b"", 0, (), datetime.now(UTC)))
    containers.append(parts)
    for client_id, owner in ((CLIENT, None), (STRANGER, "tenant_strange")):
        parts.clients.save(
            Client(client_id, owner, "Photo shop", None, (CALLBACK,), (), ("authorization_code",), SCOPES)
        )
    parts.clients.grant_scopes(reader.id, CLIENT, SCOPES)
    provider = IdentityProvider(
        "tenant_strange", FakeProvider().issuer, CLIENT_ID, "email", "name", None, {}, "viewer", False
    )
    parts.identity_providers.save(provider, ["acme.test"])
    parts.identity_providers.verify("tenant_strange", "acme.test", datetime.now(UTC))


@pytest.fixture
def forgotten_attempts(site: Site) -> None:
    with site.parts.connections.platform() as connection:
        connection.execute("DELETE FROM nextgen_identity.sign_in_attempts")


@pytest.mark.usefixtures("forgotten_attempts")
@pytest.mark.parametrize(
    ("scheme", "language"),
    [
        ("light", "en"),
        ("dark", "de"),
        pytest.param("light", "de", marks=pytest.mark.long),
        pytest.param("dark", "en", marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(chromium: Browser, site: Site, name: str, scheme: str, language: str) -> None:
    context = chromium.new_context(base_url=site.url, color_scheme=scheme, locale=language, viewport=WIDE)  # type: ignore[arg-type]
    page = context.new_page()
    PAGES[name](page)
    assert page.locator("html").get_attribute("lang") == language
    assert page.locator("h1").count() == 1
    found = Axe().run(page, options=RULES)
    assert found.response["violations"] == [], found.generate_report()
    keep(page, f"{name}-{language}-{scheme}")
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    # 320 pixels are 1280 at a zoom of 400 %: nothing is cut off, nothing scrolls sideways.
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    keep(page, f"{name}-{language}-{scheme}-narrow")
    context.close()


def keep(page: Page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.mark.usefixtures("forgotten_attempts")
def test_a_new_password_is_shown_and_rated(chromium: Browser, site: Site) -> None:
    context = chromium.new_context(base_url=site.url, locale="de")
    page = context.new_page()
    signed_in_at("/account/password")(page)
    password, rating = page.locator("#password"), page.locator("[data-rates=password]")
    expect(rating).to_be_hidden()
    ratings = {
        "password": "Zu kurz",
        "password12345": "Leicht zu erraten",
        "violet lantern harbour": "schwer zu erraten",
    }
    for text, said in ratings.items():
        password.fill(text)
        expect(rating.get_by_role("status")).to_contain_text(said)
    assert Axe().run(page, options=RULES).response["violations"] == []
    show = page.locator("button[data-shows=password]")
    show.click()
    expect(show).to_have_attribute("aria-pressed", "true")
    expect(password).to_have_attribute("type", "text")
    keep(page, "password-shown-and-rated")
    show.click()
    expect(password).to_have_attribute("type", "password")
    context.close()


@pytest.mark.usefixtures("forgotten_attempts")
def test_the_keyboard_is_enough_to_sign_in_and_consent(chromium: Browser, site: Site) -> None:
    context = chromium.new_context(base_url=site.url)
    page = context.new_page()
    page.goto(authorize())
    expect(page.locator("#email")).to_be_focused()
    page.keyboard.type(EMAIL)
    page.keyboard.press("Tab")
    page.keyboard.type("a wrong password")
    page.keyboard.press("Enter")
    expect(page.locator("#password")).to_be_focused()
    expect(page.locator("#password")).to_have_accessible_description(page.get_by_role("alert").inner_text())
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/connect/authorize?**")
    focused = []
    for _ in range(4):
        page.keyboard.press("Tab")
        focused.append(page.locator(":focus").inner_text())
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert focused == ["Allow", "Do not allow", "English", "Deutsch"]
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading")).to_have_text("Zugriff für Photo shop erlauben?")
    page.keyboard.press("Tab")
    with page.expect_request(f"{CALLBACK}?**") as arrived:
        page.keyboard.press("Space")
    assert "code=" in arrived.value.url
    context.close()


def test_a_client_names_the_users_language_and_the_user_chooses_another(chromium: Browser, site: Site) -> None:
    page = chromium.new_context(base_url=site.url, locale="fr").new_page()
    page.goto(f"{authorize()}&ui_locales=fr-CA+de")
    expect(page.get_by_role("heading")).to_have_text("Anmelden")
    page.get_by_role("link", name="English").click()
    expect(page.get_by_role("heading")).to_have_text("Sign in")
    page.locator("#email").fill(EMAIL)
    page.locator("#password").fill(PASSWORD)
    page.locator(SUBMIT).first.click()
    expect(page.get_by_role("heading")).to_have_text("Allow Photo shop?")
    page.context.close()
