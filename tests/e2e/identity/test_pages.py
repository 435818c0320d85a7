"""The pages work in a real browser without script, in light and dark, small and large; Swagger UI signs in."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from deeplens.identity.development import EMAIL
from deeplens.identity.development import PASSWORD as DEVELOPMENT_PASSWORD
from playwright.sync_api import Browser, BrowserContext, Page, Request, Response, Route, expect

from tests.e2e.identity.conftest import CALLBACK, GOODBYE, PASSWORD, World
from tests.harness.browser import query_of
from tests.harness.chromium import running_chromium

DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 640}
# Swagger UI takes seconds to start on a busy machine.
TIMEOUT_MILLISECONDS = 30_000
expect.set_options(timeout=TIMEOUT_MILLISECONDS)
HOSTS = {"localhost", "127.0.0.1", "app.localhost"}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def profile(chromium: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Return a function that creates browser profiles.

    Errors in a page's console, foreign hosts and pages whose policy allows inline scripts fail the test.
    """
    complaints: list[str] = []
    opened: list[BrowserContext] = []

    def new(**options: Any) -> BrowserContext:
        context = chromium.new_context(**options)
        context.set_default_timeout(TIMEOUT_MILLISECONDS)
        context.route("http://app.localhost:9/**", arrived)
        context.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        context.on("request", lambda sent: complaints.extend(foreign_host(sent)))
        context.on("response", lambda answer: complaints.extend(weak_policy(answer)))
        context.on("weberror", lambda raised: complaints.append(str(raised.error)))
        opened.append(context)
        return context

    yield new
    for context in opened:
        context.close()
    # A wrong password is answered with 401 and a bad request with 400: no faults of the page.
    assert [complaint for complaint in complaints if "responded with a status of 4" not in complaint] == []


def foreign_host(sent: Request) -> list[str]:
    address = urlsplit(sent.url)
    return [f"requests {sent.url}"] if address.scheme.startswith("http") and address.hostname not in HOSTS else []


def weak_policy(answer: Response) -> list[str]:
    """Why the policy of a page would let other than its own scripts run."""
    if answer.request.resource_type != "document" or urlsplit(answer.url).hostname == "app.localhost":
        return []
    given = [part.strip().partition(" ") for part in answer.headers.get("content-security-policy", "").split(";")]
    policy = {name: sources for name, _, sources in given}
    scripts = policy.get("script-src", "")
    strict = (policy.get("default-src"), policy.get("frame-ancestors")) == ("'none'", "'none'")
    return [] if strict and "unsafe" not in scripts and "http" not in scripts else [f"{answer.url} has {policy}"]


def arrived(route: Route) -> None:
    """The client's own page."""
    route.fulfill(
        body="<!doctype html><title>The application</title><link rel=icon href=data:,>", content_type="text/html"
    )


def sign_in(page: Page, email: str, password: str = PASSWORD) -> None:
    page.get_by_label("Email address").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


@contextmanager
def pictured(page: Page, folder: Path, name: str) -> Iterator[None]:
    """Keep a picture of the page, which must fit into the window's width."""
    page.screenshot(path=folder / f"{name}.png", full_page=True)
    assert page.viewport_size
    assert page.locator("main").bounding_box()["width"] <= page.viewport_size["width"]  # type: ignore[index]
    yield


@pytest.mark.parametrize(
    ("scheme", "window"), [("light", DESKTOP), ("dark", PHONE)], ids=["light-desktop", "dark-phone"]
)
def test_a_person_signs_in_consents_and_signs_out_without_script(
    profile: Callable[..., BrowserContext], world: World, tmp_path: Path, scheme: str, window: dict[str, int]
) -> None:
    app, email = world.app(), world.user("editor")
    page = profile(java_script_enabled=False, color_scheme=scheme, viewport=window).new_page()
    page.goto(app.request())
    with pictured(page, tmp_path, "sign-in"):
        sign_in(page, email, "a wrong password")
    expect(page.get_by_role("alert")).to_contain_text("not right")
    expect(page.get_by_label("Email address")).to_have_value(email)
    with pictured(page, tmp_path, "wrong-password"):
        sign_in(page, email)
    expect(page.get_by_role("heading")).to_have_text("Allow Photo shop?")
    expect(page.locator("li").first).to_have_text("know who you are")
    with pictured(page, tmp_path, "consent"):
        page.get_by_role("button", name="Allow", exact=True).click()
    page.wait_for_url(f"{CALLBACK}?**")
    assert app.redeem(query_of(page.url)["code"]).status_code == 200

    page.goto(f"{world.issuer}/account/sign-in")
    with pictured(page, tmp_path, "signed-in"):
        page.get_by_role("link", name="Sign out").click()
    with pictured(page, tmp_path, "sign-out"):
        page.get_by_role("button", name="Sign out").click()
    with pictured(page, tmp_path, "signed-out"):
        expect(page.get_by_role("heading")).to_have_text("You are signed out")
    page.goto(f"{world.issuer}/connect/authorize?client_id=nobody&response_type=code")
    with pictured(page, tmp_path, "refusal"):
        expect(page.get_by_role("heading")).to_contain_text("cannot go on")


def test_who_has_consented_before_goes_from_the_password_straight_to_the_application(
    profile: Callable[..., BrowserContext], world: World
) -> None:
    app, email = world.app(), world.user("editor")
    world.tokens(app, email)
    page = profile().new_page()
    page.goto(app.request())
    sign_in(page, email)
    page.wait_for_url(f"{CALLBACK}?**")


def test_refusing_consent_leads_back_to_the_application(profile: Callable[..., BrowserContext], world: World) -> None:
    page = profile().new_page()
    page.goto(world.app().request())
    sign_in(page, world.user())
    page.get_by_role("button", name="Do not allow").click()
    page.wait_for_url(f"{CALLBACK}?**")
    assert query_of(page.url)["error"] == "access_denied"


def test_confirmed_sign_out_leads_back_to_the_application(profile: Callable[..., BrowserContext], world: World) -> None:
    app = world.app()
    of_another = world.tokens(app, world.user())["id_token"]
    page = profile().new_page()
    page.goto(f"{world.issuer}/account/sign-in")
    sign_in(page, world.user())
    wish = {"id_token_hint": of_another, "post_logout_redirect_uri": GOODBYE, "state": "bye"}
    page.goto(f"{world.issuer}/connect/endsession?{urlencode(wish)}")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{GOODBYE}?state=bye")


def test_swagger_ui_signs_in_and_tries_a_request(profile: Callable[..., BrowserContext], world: World) -> None:
    page = profile(viewport=DESKTOP).new_page()
    page.goto(f"{world.issuer}/swagger/admin")
    page.get_by_role("button", name="Authorize").first.click()
    dialog = page.locator(".modal-ux")
    flow = dialog.locator(".auth-container", has_text="authorizationCode")
    expect(flow.get_by_label("client_id:")).to_have_value("deeplens-swagger")
    flow.get_by_text("select all", exact=True).click()
    with page.expect_popup() as opening:
        flow.locator("button.authorize").click()
    sign_in(opening.value, EMAIL, DEVELOPMENT_PASSWORD)
    with opening.value.expect_event("close"):
        opening.value.get_by_role("button", name="Allow", exact=True).click()
    expect(flow.locator("button", has_text="Logout")).to_be_visible()
    flow.locator("button.btn-done").click()

    operation = page.locator(".opblock-get").first
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".live-responses-table .response-col_status").last).to_contain_text("200")


def test_every_documents_page_shows_its_operations(profile: Callable[..., BrowserContext], world: World) -> None:
    page = profile().new_page()
    for name, address in (
        ("search", f"{world.api_url}/v1/docs"),
        ("admin", f"{world.api_url}/v1/admin/docs"),
        ("identity", f"{world.issuer}/swagger/identity"),
        ("whatsapp", f"{world.api_url}/v1/whatsapp/docs"),
    ):
        page.goto(address)
        assert page.url == f"{world.issuer}/swagger/{name}"
        expect(page.locator(".opblock").first).to_be_visible()


@pytest.mark.parametrize(
    "path",
    [
        "/account/sign-in",
        "/connect/authorize?client_id=nobody&response_type=code",
        "/connect/endsession",
        "/swagger/search",
        "/swagger/oauth2-redirect",
        "/swagger/assets/swagger-ui.css",
    ],
)
def test_an_injected_script_does_not_run(chromium: Browser, world: World, path: str) -> None:
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{world.issuer}{path}")
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.injected = true";
            document.body.append(script);
        }"""
    )
    assert page.evaluate("window.injected") is None
    context.close()
