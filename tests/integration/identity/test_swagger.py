"""Swagger UI in a browser: an API that asks for a stronger sign-in gets one."""

import re
from collections.abc import Iterator

import pytest
from deeplens.access.step_up import CHALLENGE
from deeplens.bootstrap.admin_api import create_admin_app
from deeplens.database.connections import Connections
from playwright.sync_api import Browser, Route, expect

from tests.harness.browser import query_of
from tests.harness.chromium import running_chromium
from tests.harness.identity import IdentityApi, served

TENANTS = "/v1/admin/tenants"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def site(connections: Connections) -> Iterator[IdentityApi]:
    with served(connections) as identity:
        yield identity


def test_swagger_ui_answers_a_challenge_and_shows_the_answer_afterwards(chromium: Browser, site: IdentityApi) -> None:
    page = chromium.new_page()
    page.set_default_timeout(30_000)
    answers = [{"status": 401, "headers": CHALLENGE, "json": {"type": "/problems/step-up-required"}}]
    answers += [{"headers": {"Content-Disposition": "attachment"}, "json": {"tenants": []}}]
    document = create_admin_app(site.container).openapi()
    document["paths"] = {TENANTS: {"get": document["paths"][TENANTS]["get"]}}

    def answer(route: Route) -> None:
        route.fulfill(**answers.pop(0))  # type: ignore[arg-type]

    page.route("**/v1/admin/openapi.json", lambda route: route.fulfill(json=document))
    page.route(re.compile(rf"{TENANTS}(\?|$)"), answer)
    page.goto(f"{site.issuer}/swagger/admin")
    operation = page.locator(".opblock-get", has=page.locator(f'[data-path="{TENANTS}"]'))
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Execute").click()
    notice = page.locator("#step-up")
    expect(notice).to_be_visible(timeout=30_000)
    flow = page.locator(".modal-ux .auth-container", has_text="authorizationCode")
    with page.context.expect_event("request", lambda sent: "/connect/authorize" in sent.url) as asked:
        flow.locator("button.authorize").click()
    query = query_of(asked.value.url)
    assert (query["acr_values"], query["max_age"]) == ("aal2", "600")
    page.locator(".modal-ux button.close-modal").click()
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    expect(operation.locator(".live-responses-table .highlight-code").first).to_contain_text("tenants")
    expect(notice).to_be_hidden()
    page.context.close()
