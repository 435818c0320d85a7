"""People recover their account and accept invitations in a real browser, by mails in the mailbox of this machine."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from deeplens.access.scopes import API_SCOPES
from playwright.sync_api import Browser, Page, expect

from local.stack.stack import Stack
from tests.e2e.conftest import eventually
from tests.e2e.identity.conftest import PASSWORD, World
from tests.harness.chromium import running_chromium
from tests.harness.cli import deeplens

NEW_PASSWORD = "violet lantern harbour"
EVERY_MINUTE = {"time": "2026-11-20T10:30:00Z"}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser, world: World) -> Iterator[Page]:
    context = chromium.new_context(base_url=world.issuer, java_script_enabled=False, locale="en")
    context.set_default_timeout(30_000)
    yield context.new_page()
    context.close()


@pytest.fixture(autouse=True)
def _same_folder(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPLENS_STATE_DIR", str(stack.state_dir))


def mail_to(stack: Stack, address: str, subject: str) -> dict[str, Any]:
    """The newest mail to an address, as the command shows it once the schedule has sent it."""
    assert stack.runner is not None
    stack.runner.invoke("on_schedule", EVERY_MINUTE)

    def shown() -> dict[str, Any]:
        ended = deeplens("mail", "show", address, "--json")
        return dict(json.loads(ended.output)) if ended.exit_code == 0 else {"subject": ""}

    return eventually(shown, lambda mail: mail["subject"] == subject)


def link_in(mail: dict[str, Any]) -> str:
    return re.findall(r"^https?://\S+$", mail["text"], re.M)[-1]


def sign_in(page: Page, email: str, password: str) -> None:
    page.goto("/account/sign-in")
    page.locator("#email").fill(email)
    page.locator("#password").fill(password)
    page.locator("main button:not([type])").click()


def test_a_forgotten_password_is_set_anew_and_then_changed(stack: Stack, world: World, page: Page) -> None:
    email = world.user("viewer")
    page.goto("/account/sign-in")
    page.get_by_role("link", name="Forgotten password").click()
    page.get_by_label("Email address").fill(email)
    page.get_by_role("button", name="Send the link").click()
    expect(page.get_by_role("status")).to_contain_text("a mail with a link arrives")
    link = link_in(mail_to(stack, email, "Set a new password"))
    assert link.startswith(f"{world.issuer}/account/reset?token=")

    page.goto(link)
    page.get_by_label("New password").fill(NEW_PASSWORD)
    page.get_by_role("button", name="Set the password").click()
    expect(page.get_by_role("status")).to_contain_text("Your new password is valid")
    mail_to(stack, email, "Your account was changed")
    sign_in(page, email, PASSWORD)
    expect(page.get_by_role("alert")).to_be_visible()
    sign_in(page, email, NEW_PASSWORD)

    page.get_by_role("link", name="Password").first.click()
    page.get_by_label("Present password").fill(NEW_PASSWORD)
    page.get_by_label("New password").fill(PASSWORD)
    page.get_by_role("button", name="Change the password").click()
    expect(page.get_by_role("status")).to_contain_text("Your password is changed")
    page.goto(link)
    expect(page.get_by_role("heading")).to_have_text("This link no longer works")


def test_an_invited_person_creates_an_account_and_uses_the_api(stack: Stack, world: World, page: Page) -> None:
    email = "new.person@example.test"
    key = world.parts.api_keys.create(world.tenant_id, "administrator", API_SCOPES)
    users = f"{world.api_url}/v1/admin/tenants/{world.tenant_id}/users"
    person = {"email": email, "name": "New", "roles": ["viewer"]}
    invited = httpx.post(users, headers={"X-API-Key": key}, json=person, timeout=60)
    assert (invited.status_code, invited.json()["status"]) == (201, "invited")
    page.goto(link_in(mail_to(stack, email, "You are invited to DeepLens")))
    page.get_by_label("Your name").fill("New Person")
    page.get_by_label("Password").fill(NEW_PASSWORD)
    page.get_by_role("button", name="Create the account").click()
    expect(page.get_by_role("status")).to_contain_text("Your account is ready")
    app, browser = world.app(), world.browser()
    answer = browser.answer(app.request(), email, NEW_PASSWORD)
    token = app.redeem(httpx.URL(answer).params["code"]).json()["access_token"]
    assert world.search(token).status_code == 200
