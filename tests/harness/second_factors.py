"""A person with second factors at the pages of the Identity API, at a time that tests set."""

import html
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pyotp
from deeplens.identity.model import User
from deeplens.identity.second_factors.codes import STEP_SECONDS

from tests.harness.identity import PASSWORD, IdentityApi, InProcess

AREA, STEP, PASSKEY = "/account/security", "/account/second-factor", "/account/passkey"


class SetClock:
    """A time that tests set."""

    def __init__(self) -> None:
        self.time = datetime(2026, 12, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def pass_step(self) -> None:
        self.time += timedelta(seconds=STEP_SECONDS)


class App:
    """Somebody's authenticator app, and the recovery codes."""

    def __init__(self, clock: SetClock, secret: str) -> None:
        self.clock, self.totp = clock, pyotp.TOTP(secret)
        self.codes: list[str] = []

    def code(self, steps: int = 0) -> str:
        return self.totp.at(self.clock.now(), counter_offset=steps)


def signed_in(browser: InProcess) -> bool:
    return "You are signed in as" in browser.open("/account/sign-in").text


def post(browser: InProcess, page: httpx.Response, path: str, **fields: str) -> httpx.Response:
    """Send fields with the secret of the page's forms."""
    secret = re.search(r'name="form_secret" value="([^"]+)"', page.text)
    assert secret, page.text
    sent = {"form_secret": secret[1], **fields}
    return browser._followed(browser.http.post(path, data=sent, headers={"Origin": browser.issuer}))


def press(browser: InProcess, action: str, **fields: str) -> httpx.Response:
    """Press a button of one's own security page."""
    return post(browser, browser.open(AREA), AREA, action=action, **fields)


def options_of(page: httpx.Response) -> dict[str, Any]:
    """What the page's script gives to the authenticator."""
    found = re.search(r'data-options="([^"]+)"', page.text)
    assert found, page.text
    return dict(json.loads(html.unescape(found[1])))


def enrol(browser: InProcess, clock: SetClock, page: httpx.Response) -> App:
    """Set an app up on its page."""
    secret = re.search(r"<code>([A-Z2-7 ]+)</code>", page.text)
    assert secret, page.text
    app = App(clock, secret[1].replace(" ", ""))
    page = post(browser, page, f"{AREA}/authenticator", code=app.code())
    app.codes = re.findall(r"<li><code>([^<]+)</code>", page.text)
    assert len(app.codes) == 10, page.text
    clock.pass_step()
    return app


def sign_in(browser: InProcess, user: User, goal: str = "/account/sign-in") -> httpx.Response:
    return browser.sign_in(browser.open(goal), user.email, PASSWORD)


def half(identity: IdentityApi, user: User) -> tuple[InProcess, httpx.Response]:
    """A browser that gave the password, and the page of the second step."""
    browser = identity.browser()
    page = sign_in(browser, user)
    assert page.url.path == STEP, page.text
    return browser, page
